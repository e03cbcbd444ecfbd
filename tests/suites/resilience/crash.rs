//! The gateway is killed without warning: no budget is refilled, nothing that was withdrawn comes back.

use lab::{Behaviour, Capture, Draft, Lab, Over};

#[tokio::test]
async fn a_kill_never_refills_a_budget() {
    const LIMIT: u64 = 2_000_000;
    let origin = Capture::start(Behaviour::Sink).await;
    let mut lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT)).await;
    let device = lab.device("device-1");
    for (round, over) in [Over::Http1, Over::Http2, Over::Http1].into_iter().enumerate() {
        let mut tunnel = lab.again(&device).tunnel_over(over, &origin.destination()).await;
        tunnel.send(&vec![b'k'; 300_000]).await.expect("sent");
        origin.connection(round).await.reaches(300_000).await;
        lab.crash_and_restart().await;
        drop(tunnel);
    }
    let before = origin.connections().len();
    let mut last = lab.again(&device).tunnel(&origin.destination()).await;
    last.pour(LIMIT * 2, 50_000).await;
    origin.connection(before).await.ended().await;
    assert!(origin.total() <= LIMIT, "{} of {LIMIT}", origin.total());
    let refused = lab.again(&device).refusal(&origin.destination()).await;
    assert_eq!(refused.reason(), "upload_budget_spent");
    lab.crash_and_restart().await;
    let refused = lab.again(&device).refusal(&origin.destination()).await;
    assert_eq!(refused.reason(), "upload_budget_spent", "and it stays spent");
}

#[tokio::test]
async fn a_restart_in_good_order_loses_not_a_byte_of_a_budget() {
    const LIMIT: u64 = 2_000_000;
    let origin = Capture::start(Behaviour::Echo).await;
    let mut lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT)).await;
    let device = lab.device("device-1");
    for _ in 0..3 {
        lab.again(&device).tunnel(&origin.destination()).await.echoes(&[b'g'; 100_001]).await;
        lab.live(0).await;
        lab.restart().await;
    }
    let before = origin.connections().len();
    let mut last = lab.again(&device).tunnel(&origin.destination()).await;
    last.pour(LIMIT * 2, 50_000).await;
    origin.connection(before).await.ended().await;
    assert_eq!(origin.total(), LIMIT);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_many_uploads_never_overspends() {
    const LIMIT: u64 = 4_000_000;
    let origin = Capture::start(Behaviour::Sink).await;
    let mut lab = Lab::with(Draft::of("device-1").raw(&origin.destination()).in_all(LIMIT)).await;
    let device = lab.device("device-1");
    for round in 1..=4_u64 {
        let here = lab.again(&device);
        let mut pouring = Vec::new();
        for _ in 0..8 {
            if let Ok(Ok(mut tunnel)) = here.connect(&origin.destination()).await {
                pouring.push(tokio::spawn(async move {
                    tunnel.pour(100_000, 1_000).await;
                    tunnel.rest().await;
                }));
            }
        }
        lab::eventually(lab::wait::PATIENCE, "bytes arrive", async || {
            (origin.total() >= round * 200_000 || origin.total() == LIMIT).then_some(())
        })
        .await;
        lab.crash_and_restart().await;
        for task in pouring {
            task.abort();
        }
    }
    let outcome = lab.again(&device).connect(&origin.destination()).await.expect("an answer");
    if let Ok(mut tunnel) = outcome {
        let before = origin.connections().len() - 1;
        tunnel.pour(LIMIT * 2, 50_000).await;
        origin.connection(before).await.ended().await;
    }
    assert!(origin.total() <= LIMIT, "{} of {LIMIT}", origin.total());
}

#[tokio::test]
async fn events_survive_a_kill_as_whole_lines() {
    let origin = Capture::start(Behaviour::Echo).await;
    let mut lab = Lab::with(Draft::of("device-1").raw(&origin.destination())).await;
    let device = lab.device("device-1");
    for _ in 0..5 {
        lab.again(&device).tunnel(&origin.destination()).await.echoes(b"x").await;
    }
    lab.endings(5).await;
    lab.crash();
    let path = lab.dir().join("events.jsonl");
    let mut torn = std::fs::read(&path).expect("events");
    torn.extend(b"{\"ts\":\"torn");
    std::fs::write(&path, torn).expect("torn");
    lab.start_again().await;
    lab.again(&device).tunnel(&origin.destination()).await.echoes(b"x").await;
    lab::eventually(lab::wait::PATIENCE, "new events follow whole", async || {
        let text = std::fs::read_to_string(&path).ok()?;
        let last = text.lines().last()?;
        serde_json::from_str::<serde_json::Value>(last)
            .ok()
            .filter(|event| event["event_type"] == "agent.session_ended")
    })
    .await;
}
