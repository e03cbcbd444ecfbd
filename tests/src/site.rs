//! One gateway where it stands: its process, its settings, its files, and what it says about itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::answer::Answer;
use crate::device::{self, Device};
use crate::events::Events;
use crate::gateway::{Gateway, binary};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::wait::{PATIENCE, eventually};
use crate::wire::Wire;

/// A gateway and the directory that it runs in.
#[derive(Debug)]
pub struct Site {
    /// The settings as they were written last.
    pub settings: Settings,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) dir: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print();
        }
    }
}

impl Site {
    /// The running gateway.
    ///
    /// # Panics
    /// When it is not running.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("the gateway runs")
    }

    /// The same, to be asked for its end.
    ///
    /// # Panics
    /// When it is not running.
    pub fn gateway_mut(&mut self) -> &mut Gateway {
        self.gateway.as_mut().expect("the gateway runs")
    }

    /// Whether it runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.gateway.is_some()
    }

    /// The gateway's name, as it is set.
    ///
    /// # Panics
    /// When the settings name none.
    #[must_use]
    pub fn name(&self) -> String {
        self.settings.text("gateway.name").expect("the settings name the gateway").to_owned()
    }

    /// The directory of all its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same device, at the gateway as it listens now.
    #[must_use]
    pub fn again(&self, device: &Device) -> Device {
        Device { gateway: self.gateway().addresses.device[0], ..device.clone() }
    }

    /// Every event so far.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::read(&self.dir.join("events.jsonl"))
    }

    /// The first event for which `wanted` holds; waits for it.
    pub async fn event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("an event: {what}");
        eventually(PATIENCE, &what, async || self.events().0.into_iter().find(|event| wanted(event))).await
    }

    /// The first ending for this reason; waits for it.
    pub async fn ending(&self, reason: &str) -> Value {
        let what = format!("a session ended by {reason}");
        self.event(&what, |event| event["event_type"] == "agent.session_ended" && event["reason"] == reason)
            .await
    }

    /// The first denial for this reason; waits for it.
    pub async fn denial(&self, reason: &str) -> Value {
        let what = format!("a session denied by {reason}");
        self.event(&what, |event| event["event_type"] == "agent.session_denied" && event["reason"] == reason)
            .await
    }

    /// Waits until so many sessions have ended.
    pub async fn endings(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} sessions end");
        eventually(PATIENCE, &what, async || {
            let events = self.events();
            let endings = events.of("agent.session_ended");
            (endings.len() >= count).then(|| endings.into_iter().cloned().collect())
        })
        .await
    }

    /// Waits until so many events of a type are written.
    pub async fn happened(&self, event_type: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} events {event_type}");
        eventually(PATIENCE, &what, async || {
            let events = self.events();
            let of_type = events.of(event_type);
            (of_type.len() >= count).then(|| of_type.into_iter().cloned().collect())
        })
        .await
    }

    /// A GET at the admin listener.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn admin(&self, path: &str) -> Answer {
        self.try_admin(path).await.expect("the admin listener answers")
    }

    /// A GET at the admin listener.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn try_admin(&self, path: &str) -> std::io::Result<Answer> {
        let admin = self.gateway().addresses.admin;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        self.ask_admin(&head).await
    }

    /// A whole request, as written, at the admin listener.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ask_admin(&self, request: &str) -> std::io::Result<Answer> {
        Wire::new(device::dial(self.gateway().addresses.admin).await?).ask(request).await
    }

    /// A scrape of `/metrics`.
    pub async fn metrics(&self) -> Metrics {
        Metrics(String::from_utf8_lossy(&self.admin("/metrics").await.body).into_owned())
    }

    /// The live sessions, as `/sessions` lists them.
    ///
    /// # Panics
    /// When the answer is not of the expected shape.
    pub async fn sessions(&self) -> Vec<Value> {
        let said = self.admin("/sessions").await.json();
        let list = said.as_array().or_else(|| said["sessions"].as_array());
        list.unwrap_or_else(|| panic!("no list of sessions in {said}")).clone()
    }

    /// Waits until exactly so many sessions are live.
    pub async fn live(&self, count: usize) -> Vec<Value> {
        let what = format!("{count} sessions are live");
        eventually(PATIENCE, &what, async || {
            let sessions = self.sessions().await;
            (sessions.len() == count).then_some(sessions)
        })
        .await
    }

    /// Waits until `/readyz` says 200.
    pub async fn ready(&self) {
        eventually(PATIENCE, "the gateway is ready", async || {
            let answer = self.try_admin("/readyz").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Ends the gateway without warning, and starts it again over the same files.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn crash_and_restart(&mut self) {
        self.gateway = None;
        self.start_again().await;
    }

    /// Ends the gateway in good order, and starts it again over the same files.
    ///
    /// # Panics
    /// When it does not end or start.
    pub async fn restart(&mut self) {
        self.gateway().signal(Signal::TERM);
        self.gateway_mut().ended(PATIENCE).await;
        self.gateway = None;
        self.start_again().await;
    }

    /// Ends the gateway without warning and leaves it ended.
    pub fn crash(&mut self) {
        self.gateway = None;
    }

    /// Starts an ended gateway over the same files.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        self.start_unready().await;
        self.ready().await;
    }

    /// The same, without waiting until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_unready(&mut self) {
        let settings = self.dir.join("gateway.toml");
        let gateway = Gateway::start(&self.dir, &settings, None).await;
        self.gateway = Some(gateway.expect("the gateway starts again"));
    }

    /// Writes changed settings and tells the gateway to read them; waits for its verdict and returns whether they
    /// were applied.
    pub async fn reload(&mut self, change: impl FnOnce(&mut Settings)) -> bool {
        change(&mut self.settings);
        self.settings.write(&self.dir.join("gateway.toml"));
        self.hang_up().await
    }

    /// Sends SIGHUP, waits for the verdict and returns whether the settings were applied.
    pub async fn hang_up(&self) -> bool {
        let count = |kind: &str| self.events().of(kind).len();
        let before = (count("system.reload_applied"), count("system.reload_refused"));
        self.gateway().signal(Signal::HUP);
        eventually(PATIENCE, "the gateway judges its settings", async || {
            let now = (count("system.reload_applied"), count("system.reload_refused"));
            (now != before).then_some(now.0 > before.0)
        })
        .await
    }

    /// Runs the `portcullis` command in the gateway's directory.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .current_dir(&self.dir)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("the command runs")
    }

    /// The gateway's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default()
    }

    /// Prints the end of the log and of the events: what somebody wants to see when a test has failed.
    pub fn print(&self) {
        let events = std::fs::read_to_string(self.dir.join("events.jsonl")).unwrap_or_default();
        eprintln!("--- gateway.log\n{}\n--- events.jsonl\n{}", tail(&self.log()), tail(&events));
    }
}

pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
