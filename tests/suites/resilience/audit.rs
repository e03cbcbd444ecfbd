//! Events that cannot be written: counted, and by setting a reason to open nothing.

use lab::{Behaviour, Capture, Draft, Lab};

#[tokio::test]
async fn when_events_cannot_be_written_the_setting_decides() {
    for (setting, opens) in [("refuse", false), ("count", true)] {
        let origin = Capture::start(Behaviour::Echo).await;
        let (lab, outcome) = Lab::builder()
            .settings(|settings| {
                settings.set("audit.file", "/dev/full");
                settings.set("audit.on_failure", setting);
            })
            .manifest(Draft::of("device-1").raw(&origin.destination()))
            .unready()
            .try_start(|_| ())
            .await;
        if outcome.is_err() {
            assert!(!opens, "{setting}: {}", lab.log());
            continue;
        }
        let device = lab.device("device-1");
        lab::eventually(lab::wait::PATIENCE, &format!("`{setting}` takes effect"), async || {
            match device.connect(&origin.destination()).await.ok()? {
                Ok(mut tunnel) => {
                    tunnel.echoes(b"x").await;
                    opens.then_some(())
                }
                Err(refused) => {
                    assert_eq!(
                        (refused.status, refused.reason().as_str()),
                        (503, "audit_unavailable"),
                        "{setting}"
                    );
                    (!opens).then_some(())
                }
            }
        })
        .await;
        let metrics = lab.metrics().await;
        assert!(metrics.sum("portcullis_audit_faults_total", &[]) > 0.0, "{setting}: faults are counted");
        assert!(metrics.sum("portcullis_audit_healthy", &[]) < 1.0, "{setting}");
    }
}
