//! One share alone, and under a network that loses, repeats and reorders.

use config::Limit;
use proptest::prelude::*;

use super::{LEAST_PART, MOST_ACCOUNTS, Share};
use crate::control::leases::LeaseRefusal;
use crate::control::leases::terms::Terms;
use crate::lease::{LeaseAnswer, LeaseRequest};
use crate::window::Window;

const WINDOW: Window = Window { opened_at: 1000, ends_at: 4600 };

fn terms(limit: u64) -> Terms {
    Terms { issued_at: 1000, expires_at: 4600, limit: Limit::Bytes(limit) }
}

fn request(account: u64, granted: u64, want: u64) -> LeaseRequest {
    LeaseRequest {
        device: "device-1".into(),
        agent: "agent-1".into(),
        rule: None,
        issued_at: 1000,
        account,
        granted,
        returned: 0,
        want,
        closes: false,
    }
}

fn answer(granted: u64, left: u64) -> LeaseAnswer {
    LeaseAnswer { granted: Some(granted), left: Some(left) }
}

fn ask(share: &mut Share, limit: u64, request: &LeaseRequest) -> LeaseAnswer {
    share.serve("gw-1", request, &terms(limit)).unwrap()
}

#[test]
fn a_part_is_what_is_asked_for_within_a_quarter_of_what_is_left() {
    const MIB: u64 = 1 << 20;
    for (limit, want, part) in [
        (100 * MIB, 1000, 1000),
        (100 * MIB, 80 * MIB, 25 * MIB),
        (MIB, MIB, MIB / 4),
        (100_000, 90_000, LEAST_PART),
        (1000, 5000, 1000),
        (0, 5000, 0),
        (MIB, 0, 0),
    ] {
        let given = ask(&mut Share::new(WINDOW), limit, &request(7, 0, want));
        assert_eq!(given, answer(part, limit - part), "{limit} {want}");
    }
}

#[test]
fn gateways_that_ask_in_turn_finish_a_budget_to_the_byte() {
    let mut share = Share::new(WINDOW);
    let mut held = [0; 3];
    loop {
        let before = held;
        for (account, held) in held.iter_mut().enumerate() {
            *held = ask(&mut share, 10_000_019, &request(account as u64, *held, u64::MAX)).granted.unwrap();
        }
        if held == before {
            break;
        }
    }
    assert_eq!(held.iter().sum::<u64>(), 10_000_019);
    assert!(held.iter().all(|held| *held > 2_000_000), "{held:?}");
}

#[test]
fn a_request_that_comes_twice_is_answered_twice_and_granted_once() {
    let mut share = Share::new(WINDOW);
    let first = request(7, 0, 1000);
    assert_eq!(ask(&mut share, 5000, &first), answer(1000, 4000));
    assert_eq!(ask(&mut share, 5000, &first), answer(1000, 4000), "the answer may have been lost");
    assert_eq!(ask(&mut share, 5000, &request(7, 1000, 500)), answer(1500, 3500));
    assert_eq!(ask(&mut share, 5000, &first), answer(1500, 3500), "late");
}

#[test]
fn what_is_given_back_goes_to_others_once() {
    let mut share = Share::new(WINDOW);
    ask(&mut share, 1000, &request(7, 0, 900));
    let back = LeaseRequest { returned: 400, ..request(7, 900, 0) };
    assert_eq!(ask(&mut share, 1000, &back), answer(900, 500));
    assert_eq!(ask(&mut share, 1000, &back), answer(900, 500));
    assert_eq!(ask(&mut share, 1000, &request(8, 0, 5000)), answer(500, 0));
    let too_much = LeaseRequest { returned: 900, ..request(7, 900, 5000) };
    assert_eq!(ask(&mut share, 1000, &too_much), answer(1400, 0));
}

#[test]
fn a_closed_account_counts_with_what_was_heard_of_and_not_returned() {
    let mut share = Share::new(WINDOW);
    ask(&mut share, 1000, &request(7, 0, 600));
    ask(&mut share, 1000, &request(7, 600, 100));
    let close = LeaseRequest { returned: 150, closes: true, ..request(7, 600, 0) };
    assert_eq!(ask(&mut share, 1000, &close), answer(600, 550), "450 are spent, 100 were never heard of");
    assert_eq!(ask(&mut share, 1000, &close), LeaseAnswer { granted: None, left: Some(550) }, "again");
    assert!(share.accounts.is_empty());
}

#[test]
fn an_account_that_is_not_known_is_granted_nothing() {
    let mut share = Share::new(WINDOW);
    let foreign = request(7, 500, 100);
    assert_eq!(ask(&mut share, 1000, &foreign), LeaseAnswer { granted: None, left: Some(1000) });
    ask(&mut share, 1000, &request(7, 0, 100));
    let of_another = share.serve("gw-2", &request(7, 100, 100), &terms(1000)).unwrap();
    assert_eq!(of_another.granted, None, "accounts belong to the gateway that opened them");
}

#[test]
fn a_gateway_that_holds_more_than_is_written_down_is_believed() {
    let mut share = Share::new(WINDOW);
    ask(&mut share, 1000, &request(7, 0, 100));
    assert_eq!(ask(&mut share, 1000, &request(7, 700, 0)), answer(700, 300));
}

#[test]
fn a_superseding_manifest_moves_the_limit_and_refills_nothing() {
    let mut share = Share::new(WINDOW);
    ask(&mut share, 1000, &request(7, 0, 800));
    let later = |limit| Terms { issued_at: 2000, ..terms(limit) };
    let lowered = share.serve("gw-1", &request(7, 800, 500), &later(600)).unwrap();
    assert_eq!(lowered, answer(800, 0));
    let raised = share.serve("gw-1", &request(7, 800, 500), &later(1100)).unwrap();
    assert_eq!(raised, answer(1100, 0));
    let unlimited = Terms { limit: Limit::Unlimited, ..later(0) };
    let free = share.serve("gw-1", &request(7, 1100, 500), &unlimited).unwrap();
    assert_eq!(free, LeaseAnswer { granted: Some(1600), left: None });
    let older = share.serve("gw-1", &request(7, 1600, 500), &terms(9000));
    assert!(matches!(older, Err(LeaseRefusal::Behind)), "the limit of a manifest that is superseded");
}

#[test]
fn the_quietest_of_too_many_accounts_counts_as_spent() {
    let mut share = Share::new(WINDOW);
    let many = u64::try_from(MOST_ACCOUNTS).unwrap() + 10;
    for account in 0..many {
        ask(&mut share, 100_000, &request(account, 0, 10));
    }
    assert_eq!(share.accounts.len(), MOST_ACCOUNTS);
    assert_eq!(ask(&mut share, 100_000, &request(0, 10, 10)).granted, None);
    assert_eq!(ask(&mut share, 100_000, &request(99, 0, 0)).left, Some(100_000 - 10 * many));
}

/// A gateway as the protocol sees it.
#[derive(Debug, Clone, Default)]
struct Gateway {
    account: u64,
    granted: u64,
    returned: u64,
    /// Of this account, and of all before.
    spent: u64,
    spent_before: u64,
    /// What an account that was given up had left over.
    kept: u64,
}

impl Gateway {
    fn request(&self, want: u64) -> LeaseRequest {
        LeaseRequest { returned: self.returned, ..request(self.account, self.granted, want) }
    }

    fn holds(&self) -> u64 {
        self.granted - self.returned - self.spent
    }

    fn begin_again(&mut self, account: u64) {
        self.spent_before += self.spent;
        (self.account, self.granted, self.returned, self.spent) = (account, 0, 0, 0);
    }

    fn hear(&mut self, account: u64, answer: LeaseAnswer, fresh: u64) {
        match answer.granted {
            Some(granted) if account == self.account => self.granted = self.granted.max(granted),
            None if account == self.account => {
                self.kept += self.holds();
                self.begin_again(fresh);
            }
            _ => {}
        }
    }

    fn spend(&mut self, bytes: u64) {
        let kept = bytes.min(self.kept);
        self.kept -= kept;
        self.spent_before += kept;
        self.spent += (bytes - kept).min(self.holds());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask(usize, u64),
    Serve(usize, bool),
    Hear(usize),
    Lose(usize),
    Spend(usize, u64),
    Return(usize, u64),
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..3_usize;
    prop_oneof![
        6 => (who(), 0..400_000_u64).prop_map(|(who, want)| Step::Ask(who, want)),
        6 => (0..8_usize, any::<bool>()).prop_map(|(which, again)| Step::Serve(which, again)),
        6 => (0..8_usize).prop_map(Step::Hear),
        1 => (0..8_usize).prop_map(Step::Lose),
        6 => (who(), 0..400_000_u64).prop_map(|(who, bytes)| Step::Spend(who, bytes)),
        2 => (who(), 0..400_000_u64).prop_map(|(who, bytes)| Step::Return(who, bytes)),
        1 => who().prop_map(Step::Crash),
    ]
}

proptest! {
    #[test]
    fn no_order_of_requests_losses_and_crashes_spends_more_than_the_limit(
        limit in 0..3_000_000_u64,
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut share = Share::new(WINDOW);
        let mut gateways = vec![Gateway::default(); 3];
        let mut names = 10;
        for gateway in &mut gateways {
            names += 1;
            gateway.account = names;
        }
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for step in steps {
            names += 1;
            match step {
                Step::Ask(who, want) => asked.push((who, gateways[who].request(want))),
                Step::Serve(which, again) => if which < asked.len() {
                    let (who, request) = if again { asked[which].clone() } else { asked.remove(which) };
                    let answer = share.serve(&format!("gw-{who}"), &request, &terms(limit)).unwrap();
                    answered.push((who, request.account, answer));
                },
                Step::Hear(which) => if which < answered.len() {
                    let (who, account, answer) = answered.remove(which);
                    gateways[who].hear(account, answer, names);
                },
                Step::Lose(which) => if which < answered.len() { answered.remove(which); },
                Step::Spend(who, bytes) => gateways[who].spend(bytes),
                Step::Return(who, bytes) => {
                    let gateway = &mut gateways[who];
                    gateway.returned += bytes.min(gateway.holds());
                }
                Step::Crash(who) => {
                    gateways[who].kept = 0;
                    gateways[who].begin_again(names);
                }
            }
            let spent: u64 = gateways.iter().map(|gateway| gateway.spent_before + gateway.spent).sum();
            prop_assert!(spent <= limit, "{spent} of {limit}");
        }
        // Everybody is well again: what is not lost with a crash is spent to the byte.
        for _ in 0..60 {
            for (who, gateway) in gateways.iter_mut().enumerate() {
                gateway.spend(u64::MAX);
                let answer = share.serve(&format!("gw-{who}"), &gateway.request(u64::MAX), &terms(limit)).unwrap();
                names += 1;
                gateway.hear(gateway.account, answer, names);
                gateway.spend(u64::MAX);
            }
        }
        let spent: u64 = gateways.iter().map(|gateway| gateway.spent_before + gateway.spent).sum();
        let live: Vec<_> = gateways.iter().map(|gateway| gateway.account).collect();
        let lost = share.accounts.iter().filter(|account| !live.contains(&account.account)).map(super::Account::held).sum::<u64>();
        prop_assert!(spent <= limit && limit <= spent + lost, "{spent} of {limit}, {lost} lost");
    }
}
