//! Manifests that others have to sign, and those that need no others.

use super::*;

const MANIFESTS: &str = "/api/v1/manifests";
const APPROVALS: &str = "/api/v1/manifests/cm-2/approvals";

fn careful() -> Draft<'static> {
    Draft { id: "cm-2", agent: "careful", ..Draft::default() }
}

#[tokio::test]
async fn a_manifest_is_live_at_once_shown_with_its_envelope_and_withdrawn() {
    let served = Served::start().await;
    let envelope = served.manifest(&Draft::default(), &["author-1"]);
    let put = async || served.ask("author", "PUT", MANIFESTS, Some(&envelope)).await.json();
    assert_eq!((&put().await["sequence"], &put().await["repeated"]), (&json!(1), &json!(true)));
    let shown = served.ask("viewer", "GET", "/api/v1/manifests/cm-1", None).await.json();
    assert_eq!(shown["envelope"], serde_json::from_str::<Value>(&envelope).unwrap());
    assert_eq!((&shown["device"], &shown["by"]), (&json!("device-1"), &json!("author@example.com")));
    let listed = served.ask("viewer", "GET", MANIFESTS, None).await.json();
    assert_eq!(listed["manifests"][0]["id"], "cm-1");
    let path = "/api/v1/manifests/cm-1";
    assert_eq!(served.ask("author", "DELETE", path, None).await.json()["sequence"], 2);
    assert_eq!(served.ask("author", "DELETE", path, None).await.refusal().0, 404);
    assert_eq!(served.ask("viewer", "GET", path, None).await.refusal().0, 404);
}

#[tokio::test]
async fn a_manifest_that_is_not_in_order_is_refused_without_repeating_it() {
    let served = Served::start().await;
    let stranger = Envelope::sign(
        crate::envelope::PayloadType::Manifest,
        br#"{"canary":1}"#.to_vec(),
        &served.keys["author-1"],
    );
    let unknown = sign_manifest(careful().read(), 1, &key("author-1"));
    let approver_only = served.manifest(&careful(), &["approver-1"]);
    for envelope in [
        String::from_utf8(stranger.to_json()).unwrap(),
        String::from_utf8(unknown.to_json()).unwrap(),
        approver_only,
        r#"{"payloadType":"x","payload":"","signatures":[]}"#.into(),
        "{}".into(),
    ] {
        let answer = served.ask("author", "PUT", MANIFESTS, Some(&envelope)).await;
        assert_eq!(answer.refusal().0, 422, "{envelope}: {answer:?}");
    }
    assert_eq!(served.ask("viewer", "GET", "/api/v1/proposals", None).await.json()["proposals"], json!([]));
}

#[tokio::test]
async fn a_manifest_that_needs_two_others_is_live_when_both_have_signed() {
    let served = Served::start().await;
    let envelope = served.manifest(&careful(), &["author-1"]);
    let proposed = served.ask("author", "PUT", MANIFESTS, Some(&envelope)).await;
    assert_eq!(proposed.status, StatusCode::ACCEPTED);
    assert_eq!(proposed.json()["missing"], json!(["approver", "security"]));
    // Until then it is nowhere but among the proposals.
    assert_eq!(served.ask("viewer", "GET", "/api/v1/manifests/cm-2", None).await.refusal().0, 404);
    let first = served.signed_too(&envelope, "approver-1");
    let answer = served.ask("approver", "POST", APPROVALS, Some(&first)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["missing"]), (202, &json!(["security"])));
    let listed = served.ask("viewer", "GET", "/api/v1/proposals", None).await.json();
    assert_eq!(listed["proposals"][0]["approvers"], json!(["approver@example.com"]));
    // A second signature through the same person does not count, nor one that adds nothing.
    let second = served.signed_too(&envelope, "security-1");
    assert_eq!(served.ask("approver", "POST", APPROVALS, Some(&second)).await.refusal().1, "own_approval");
    assert_eq!(served.ask("approver2", "POST", APPROVALS, Some(&first)).await.refusal().0, 409);
    assert_eq!(served.ask("approver2", "POST", APPROVALS, Some(&second)).await.json()["sequence"], 1);
    let shown = served.ask("viewer", "GET", "/api/v1/manifests/cm-2", None).await.json();
    let by = "author@example.com, approved by approver@example.com, approver2@example.com";
    assert_eq!(shown["by"], json!(by));
    assert_eq!(served.ask("viewer", "GET", "/api/v1/proposals", None).await.json()["proposals"], json!([]));
}

#[tokio::test]
async fn nobody_approves_what_he_submitted_not_even_an_admin() {
    let served = Served::start().await;
    let envelope = served.manifest(&careful(), &["author-1"]);
    assert_eq!(served.ask("admin", "PUT", MANIFESTS, Some(&envelope)).await.status, StatusCode::ACCEPTED);
    let approval = served.signed_too(&envelope, "approver-1");
    assert_eq!(
        served.ask("admin", "POST", APPROVALS, Some(&approval)).await.refusal(),
        (403, "own_approval".into(), String::new())
    );
    assert_eq!(served.ask("approver", "POST", APPROVALS, Some(&approval)).await.status, StatusCode::ACCEPTED);
    for (path, expected) in
        [("/api/v1/manifests/cm-3/approvals", 404), ("/api/v1/manifests/a%2Fb/approvals", 400)]
    {
        assert_eq!(served.ask("approver2", "POST", path, Some(&approval)).await.refusal().0, expected);
    }
}

#[tokio::test]
async fn with_every_signature_at_once_nothing_has_to_wait_and_a_proposal_is_taken_back() {
    let served = Served::start().await;
    let whole = served.manifest(&careful(), &["author-1", "approver-1", "security-1"]);
    assert_eq!(served.ask("author", "PUT", MANIFESTS, Some(&whole)).await.json()["sequence"], 1);
    let other = Draft { id: "cm-9", agent: "careful", device: "device-9", ..Draft::default() };
    let envelope = served.manifest(&other, &["author-1"]);
    assert_eq!(served.ask("author", "PUT", MANIFESTS, Some(&envelope)).await.status, StatusCode::ACCEPTED);
    let path = "/api/v1/manifests/cm-9";
    assert_eq!(served.ask("author", "DELETE", path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(served.ask("author", "DELETE", path, None).await.refusal().0, 404);
}
