//! `[budget]`: with whom upload budgets are counted.

use super::{DefaultValue, SettingDoc, setting};
use crate::reading::Table;

pub(super) const DOCS: &[SettingDoc] = &[setting(
    "budget",
    "fleet",
    DefaultValue::Absent("true with `control:` and `nats:`, false with `dir:`"),
    "Whether a budget is one for all gateways together; otherwise each gateway grants it whole.",
)];

/// `[budget]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Whether a budget is one for all gateways together.
    pub fleet: bool,
}

/// Reads the section; `shared` says whether there is a control plane to count with.
pub(super) fn read(mut table: Table<'_>, shared: bool) -> Option<BudgetSettings> {
    let fleet = table.maybe("fleet", |field| match field.boolean()? {
        true if !shared => field.refuse("there is no control plane to count with: the source is dir:", None),
        fleet => Some(fleet),
    });
    table.finish();
    Some(BudgetSettings { fleet: fleet?.unwrap_or(shared) })
}
