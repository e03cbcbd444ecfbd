//! The policy directory as people really use it: symlink swaps, half-written files, one bad file among good ones.

use lab::wait::{PATIENCE, eventually};
use lab::{Behaviour, Capture, Draft, Lab};

#[tokio::test]
async fn one_bad_file_takes_down_only_itself() {
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::builder()
        .manifest(Draft::of("device-1").raw(&origin.destination()))
        .manifest(Draft::of("device-2").raw(&origin.destination()))
        .start()
        .await;
    let mut tunnel = lab.device("device-1").tunnel(&origin.destination()).await;
    lab.policy.put_manifest("cm-device-2", b"{ not an envelope");
    lab.event("refused", |event| event["event_type"] == "control.manifest_refused").await;
    tunnel.echoes(b"goes on").await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"new ones too").await;
}

#[tokio::test]
async fn a_file_that_is_written_in_pieces_counts_once_it_is_whole() {
    use std::io::Write;
    let origin = Capture::start(Behaviour::Echo).await;
    let lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let draft = Draft::of("device-2").raw(&origin.destination());
    let envelope = lab::policy::signed_manifest(&draft, lab.policy.next_issue(), lab.policy.author());
    let mut file = std::fs::File::create(lab.policy.manifest_path("cm-device-2")).expect("a file");
    for piece in envelope.chunks(50) {
        file.write_all(piece).expect("written");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    drop(file);
    eventually(PATIENCE, "the whole file counts", async || {
        lab.device("device-2").connect(&origin.destination()).await.ok()?.ok()
    })
    .await;
    lab.device("device-1").tunnel(&origin.destination()).await.echoes(b"never in doubt").await;
}

#[tokio::test]
async fn a_checkout_can_be_swapped_by_a_symlink() {
    let (one, two) = (Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await);
    let (lab, outcome) = Lab::builder()
        .manifest(Draft::of("device-1").raw(&one.destination()))
        .try_start(|dir| {
            std::fs::rename(dir.join("policy"), dir.join("checkout-1")).expect("renamed");
            std::os::unix::fs::symlink("checkout-1", dir.join("policy")).expect("linked");
        })
        .await;
    outcome.unwrap_or_else(|status| panic!("{status:?}\n{}", lab.log()));
    lab.device("device-1").tunnel(&one.destination()).await.echoes(b"first checkout").await;
    let second = lab.dir().join("checkout-2");
    for part in ["manifests", "revocations", "crls"] {
        std::fs::create_dir_all(second.join(part)).expect("a directory");
    }
    let draft = Draft::of("device-1").raw(&two.destination());
    let envelope = lab::policy::signed_manifest(&draft, lab.policy.next_issue(), lab.policy.author());
    std::fs::write(second.join("manifests/cm-device-1.dsse.json"), envelope).expect("written");
    std::os::unix::fs::symlink("checkout-2", lab.dir().join("policy-next")).expect("linked");
    std::fs::rename(lab.dir().join("policy-next"), lab.dir().join("policy")).expect("swapped");
    eventually(PATIENCE, "the second checkout is in force", async || {
        lab.device("device-1").connect(&two.destination()).await.ok()?.ok()
    })
    .await;
    assert!(lab.device("device-1").connect(&one.destination()).await.expect("an answer").is_err());
}

#[tokio::test]
async fn a_flood_of_changes_ends_in_the_last_one() {
    let origins = [Capture::start(Behaviour::Echo).await, Capture::start(Behaviour::Echo).await];
    let lab = Lab::with(Draft::of("device-1")).await;
    for round in 0..60 {
        lab.policy.push_signed(
            &Draft::of("device-1").raw(&origins[round % 2].destination()),
            jiff::Timestamp::now().as_second() - 100 + i64::try_from(round).expect("small"),
            lab.policy.author(),
        );
    }
    lab.policy.push(&Draft::of("device-1").raw(&origins[0].destination()));
    eventually(PATIENCE, "the last one is in force", async || {
        lab.device("device-1").connect(&origins[0].destination()).await.ok()?.ok()
    })
    .await;
    assert!(lab.device("device-1").connect(&origins[1].destination()).await.expect("an answer").is_err());
}
