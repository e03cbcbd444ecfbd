//! Manifests that others have to sign, from `manifest push` to the gateways.

use lab::policy::signed_manifest;
use lab::{Behaviour, Capture, Draft, Fleet, Role};
use policy_sync::Envelope;
use serde_json::{Value, json};

use crate::commands::{as_role, json as output_json, run, text};

/// A token of somebody else with these roles.
fn another(fleet: &Fleet, owner: &str, roles: &[&str]) -> String {
    let file = fleet.dir().join("control/tokens.toml");
    let (id, _) = owner.split_once('@').expect("an address");
    let token = lab::fleet::api::token(id);
    let entry = format!(
        "\n[[tokens]]\nid = \"{id}\"\nsha256 = \"{}\"\nowner = \"{owner}\"\nroles = {}\nexpires = \"2099-01-01T00:00:00Z\"\n",
        lab::fleet::api::digest(&token),
        json!(roles),
    );
    let known = std::fs::read_to_string(&file).expect("the tokens");
    std::fs::write(file, known + &entry).expect("written");
    token
}

async fn careful(origin: &Capture) -> (Fleet, Draft) {
    let approval: toml::Table =
        "x = [{ agent = \"careful-v1\", roles = [\"approver\", \"security\"] }]".parse().expect("TOML");
    let builder = Fleet::builder().gateways(1).control(|settings| {
        settings.set("policy.approval", approval["x"].clone());
    });
    let draft = Draft::of("device-1").agent("careful-v1").raw(&origin.destination());
    (builder.start().await, draft)
}

/// Pushes a file as whoever has this token, and says what became of it.
fn push(fleet: &Fleet, token: &str, file: &str, approve: bool) -> Result<Value, String> {
    let mut arguments = vec!["manifest", "push", file, "--output", "json"];
    arguments.extend(approve.then_some("--approve"));
    let output = run(fleet, token, &arguments);
    if output.status.success() { Ok(output_json(&output)[0].clone()) } else { Err(text(&output)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_needs_two_others_is_in_force_when_both_have_signed_and_nobody_approves_his_own() {
    let origin = Capture::start(Behaviour::Echo).await;
    let (mut fleet, draft) = careful(&origin).await;
    let [both, second, admin] = [
        another(&fleet, "dora@example.com", &["author", "approver"]),
        another(&fleet, "erik@example.com", &["approver"]),
        another(&fleet, "root@example.com", &["admin"]),
    ];
    fleet.stop_control().await;
    fleet.start_control().await;
    fleet.ready().await;
    let mut envelope =
        Envelope::read(&signed_manifest(&draft, fleet.keys.issue(&draft.id_text()), &fleet.keys.author))
            .expect("an envelope");
    let file = |name: &str, envelope: &Envelope| {
        std::fs::write(fleet.dir().join(name), envelope.to_json()).expect("written");
    };
    file("author.json", &envelope);
    envelope.add_signature(&fleet.keys.approver);
    file("approver.json", &envelope);
    envelope.add_signature(&fleet.keys.security);
    file("security.json", &envelope);

    let proposed = push(&fleet, &both, "author.json", false).expect("it waits");
    assert_eq!(
        (&proposed["sequence"], &proposed["missing"]),
        (&Value::Null, &json!(["approver", "security"]))
    );
    fleet.device(0, "device-1").refusal(&origin.destination()).await;
    // Whoever has submitted it does not approve it, and neither does somebody without the role.
    let own = push(&fleet, &both, "approver.json", true).expect_err("its own");
    assert!(own.contains("403"), "{own}");
    let author = push(&fleet, fleet.tokens.of(Role::Author), "approver.json", true).expect_err("no role");
    assert!(author.contains("403"), "{author}");
    let first = push(&fleet, fleet.tokens.of(Role::Approver), "approver.json", true).expect("one of two");
    assert_eq!((&first["sequence"], &first["missing"]), (&Value::Null, &json!(["security"])));
    // One person does not count as two.
    let again = push(&fleet, fleet.tokens.of(Role::Approver), "security.json", true).expect_err("the same");
    assert!(again.contains("403"), "{again}");
    // What waits outlives the process.
    fleet.crash_control();
    fleet.start_control().await;
    let live = push(&fleet, &second, "security.json", true).expect("both have signed");
    fleet.enforced(live["sequence"].as_u64().expect("a sequence")).await;
    fleet.device(0, "device-1").tunnel(&origin.destination()).await.echoes(b"approved").await;
    // Nor does an administrator approve what is his own.
    let other = Draft::of("device-2").agent("careful-v1").raw(&origin.destination());
    let mut envelope =
        Envelope::read(&signed_manifest(&other, fleet.keys.issue(&other.id_text()), &fleet.keys.author))
            .expect("an envelope");
    std::fs::write(fleet.dir().join("other.json"), envelope.to_json()).expect("written");
    envelope.add_signature(&fleet.keys.approver);
    std::fs::write(fleet.dir().join("other-approved.json"), envelope.to_json()).expect("written");
    push(&fleet, &admin, "other.json", false).expect("it waits");
    let own = push(&fleet, &admin, "other-approved.json", true).expect_err("its own");
    assert!(own.contains("403"), "{own}");
    assert!(as_role(&fleet, Role::Viewer, &["gateways"]).status.success());
}
