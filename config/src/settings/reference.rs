//! Every key of every program, with its default and its sentence; and the sections of a file with these defaults behind.
//!
//! The default in force is read from the text here, by the same code that reads a file.

use std::sync::LazyLock;

use super::control;
use super::{audit, budget, control_link, deadlines, destinations, dns, gateway, limits, listen, nats};
use super::{policy, tls, trust};
use crate::reading::{self, Field, Node, Source, Table, Value, Walk};

/// A program that is told by a settings file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// The enforcement point: `gateway.toml`.
    Gateway,
    /// The control plane: `control.toml`.
    Control,
}

impl Program {
    /// Every program.
    pub const ALL: [Self; 2] = [Self::Gateway, Self::Control];

    /// Its settings file, as the examples and the usual place call it.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway.toml",
            Self::Control => "control.toml",
        }
    }
}

/// What the manual says of one key. The default in force is read from this very text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingDoc {
    /// The table that the key stands in, such as `limits`.
    pub section: &'static str,
    /// The key, such as `sessions`.
    pub key: &'static str,
    /// What is in force when the key is absent.
    pub default: DefaultValue,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// What is in force when a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This value, in TOML.
    Toml(&'static str),
    /// Nothing: the key has to be there.
    Required,
    /// Nothing: what the key would turn on is off. The text says what happens instead.
    Absent(&'static str),
}

pub(super) const fn setting(
    section: &'static str,
    key: &'static str,
    default: DefaultValue,
    doc: &'static str,
) -> SettingDoc {
    SettingDoc { section, key, default, doc }
}

/// Every key of a program's settings, by section.
#[must_use]
pub fn reference(program: Program) -> &'static [SettingDoc] {
    static GATEWAY: LazyLock<Vec<SettingDoc>> = LazyLock::new(|| {
        [
            gateway::DOCS,
            listen::DOCS,
            tls::DOCS,
            trust::DOCS,
            policy::DOCS,
            control_link::DOCS,
            nats::GATEWAY_DOCS,
            budget::DOCS,
            destinations::DOCS,
            limits::DOCS,
            deadlines::DOCS,
            dns::DOCS,
            audit::DOCS,
        ]
        .concat()
    });
    static CONTROL: LazyLock<Vec<SettingDoc>> = LazyLock::new(control::docs);
    match program {
        Program::Gateway => &GATEWAY,
        Program::Control => &CONTROL,
    }
}

/// The sections of which a file can have several.
pub const REPEATED: [&str; 1] = ["signals"];

/// A complete settings file with every default, and the explanation of each key above it.
#[must_use]
pub fn reference_toml(program: Program) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in reference(program) {
        if setting.section != section {
            section = setting.section;
            text.push_str(&match REPEATED.contains(&section) {
                true => format!("\n[[{section}]]\n"),
                false => format!("\n[{section}]\n"),
            });
        }
        let SettingDoc { key, doc, .. } = setting;
        text.push_str(&match setting.default {
            DefaultValue::Toml(value) => format!("# {doc}\n{key} = {value}\n"),
            DefaultValue::Required => format!("# {doc} Required.\n# {key} =\n"),
            DefaultValue::Absent(instead) => format!("# {doc} Default: {instead}.\n# {key} =\n"),
        });
    }
    text.trim_start().to_owned()
}

/// The defaults of a program as a tree, read once from the reference.
fn defaults(program: Program) -> &'static Node {
    static GATEWAY: LazyLock<Node> = LazyLock::new(|| read_defaults(Program::Gateway));
    static CONTROL: LazyLock<Node> = LazyLock::new(|| read_defaults(Program::Control));
    match program {
        Program::Gateway => &GATEWAY,
        Program::Control => &CONTROL,
    }
}

fn read_defaults(program: Program) -> Node {
    let source = Source::new("defaults.toml", reference_toml(program));
    let walk = Walk::new(&source);
    let tree = reading::tree(&source, &walk);
    walk.finish(tree).expect("the defaults are valid TOML, which a test reads").nowhere()
}

/// The sections of a file, each with its defaults behind it.
pub(super) struct Sections<'n> {
    file: Table<'n>,
    defaults: &'static Node,
}

impl<'n> Sections<'n> {
    /// The sections of `root`, which is a program's settings file.
    pub(super) fn of(root: &Field<'n>, program: Program) -> Option<Self> {
        let defaults = defaults(program);
        Some(Self { file: root.table()?.or_from(defaults), defaults })
    }

    /// A section; one that is absent consists of its defaults.
    pub(super) fn section(&mut self, name: &'static str) -> Option<Table<'n>> {
        let section = self.file.optional(name)?.table()?;
        Some(self.behind(name, section))
    }

    /// A section that says something by being there: `Some(None)` when it is absent, `None` when it is there and wrong.
    #[allow(clippy::option_option, reason = "absent, wrong and right are three things")]
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Table<'n>) -> Option<T>,
    ) -> Option<Option<T>> {
        let section = self.file.optional(name);
        if !self.is_there(name) {
            return Some(None);
        }
        read(self.behind(name, section?.table()?)).map(Some)
    }

    /// Sections of one name, of which there can be none.
    pub(super) fn repeated<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(Table<'n>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let sections = self.file.optional(name);
        if !self.is_there(name) {
            return Some(Vec::new());
        }
        sections?.each(|section| read(self.behind(name, section.table()?)))
    }

    /// Whether the file itself has a section.
    pub(super) fn is_there(&self, name: &str) -> bool {
        self.file.place_of(name).is_some()
    }

    /// Notes that a section, or `section.key`, is wrong or missing.
    pub(super) fn refuse<T>(&self, name: &str, message: &str, help: Option<&str>) -> Option<T> {
        self.file.refuse_below(name, message, help)
    }

    /// Notes every section that was never asked for.
    pub(super) fn finish(self) {
        self.file.finish();
    }

    fn behind(&self, name: &str, section: Table<'n>) -> Table<'n> {
        let Value::Table(sections) = &self.defaults.value else { return section };
        match sections.iter().find(|entry| entry.key == name).map(|entry| &entry.node) {
            Some(Node { value: Value::List(sections), .. }) => match sections.first() {
                Some(defaults) => section.or_from(defaults),
                None => section,
            },
            Some(defaults) => section.or_from(defaults),
            None => section,
        }
    }
}
