use proptest::prelude::*;

use super::tree::Value;
use super::*;
use crate::problems::Problems;

fn read(name: &str, text: impl Into<Vec<u8>>) -> Result<String, Problems> {
    let source = Source::new(name, text.into());
    let walk = Walk::new(&source);
    let tree = tree(&source, &walk).map(|node| show(&node.value));
    walk.finish(tree)
}

/// A value as compact JSON-like text.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(boolean) => boolean.to_string(),
        Value::Whole(number) => number.to_string(),
        Value::Other(other) => format!("?{other}"),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => {
            format!("[{}]", items.iter().map(|item| show(&item.value)).collect::<Vec<_>>().join(","))
        }
        Value::Table(entries) => {
            let shown: Vec<_> =
                entries.iter().map(|entry| format!("{}:{}", entry.key, show(&entry.node.value))).collect();
            format!("{{{}}}", shown.join(","))
        }
    }
}

fn first_problem(name: &str, text: impl Into<Vec<u8>>) -> String {
    let problems = read(name, text).expect_err("the text has a problem");
    let problem = problems.iter().next().expect("at least one");
    format!("{}:{}: {}", problem.line, problem.column, problem.message)
}

#[test]
fn json_is_read_to_the_letter() {
    for (text, expected) in [
        ("{}", "{}"),
        (r#" {"a": [1, -2, true, false, null, "x"]} "#, r#"{a:[1,-2,true,false,null,"x"]}"#),
        (r#"{"a": 1.5, "b": 1e3, "c": 0}"#, "{a:?1.5,b:?1e3,c:0}"),
        (r#""\u00e4\ud83d\ude00\n\/""#, r#""ä😀\n/""#),
        ("18446744073709551616", "18446744073709551616"),
        (
            "999999999999999999999999999999999999999999999999",
            "?999999999999999999999999999999999999999999999999",
        ),
    ] {
        assert_eq!(read("m.json", text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn json_that_readers_disagree_about_is_refused() {
    for (text, expected) in [
        (r#"{"a":1,"a":2}"#, "1:8: `a` is there twice"),
        (r#"{"a":1,"\u0061":2}"#, "1:8: `a` is there twice"),
        ("{\"a\":1}\n{}", "2:1: there is more text after the value"),
        ("{} x", "1:4: there is more text after the value"),
        (r#"{"a":NaN}"#, "1:6: expected a value"),
        (r#"{"a":Infinity}"#, "1:6: expected a value"),
        (r#"{"a":-Infinity}"#, "1:7: expected a digit"),
        (r#"{"a":truex}"#, "1:6: expected a value"),
        (r#"{"a":1,}"#, "1:8: expected a key in double quotes"),
        (r#"[1,]"#, "1:4: expected a value"),
        (r#"{a:1}"#, "1:2: expected a key in double quotes"),
        (r#"{'a':1}"#, "1:2: expected a key in double quotes"),
        ("{\"a\":01}", "1:8: a number does not begin with 0"),
        ("{\"a\":+1}", "1:6: expected a value"),
        ("{\"a\":1.}", "1:8: expected a digit"),
        ("// x\n{}", "1:1: expected a value"),
        (r#""\ud800""#, "1:8: half of a surrogate pair stands alone"),
        (r#""\udc00""#, "1:8: half of a surrogate pair stands alone"),
        (r#""\x41""#, "1:3: there is no such escape"),
        ("\"a\nb\"", "1:3: a control character stands in quotes unescaped"),
        ("\"a", "1:3: the file ends inside quotes"),
        ("", "1:1: the file ends where a value is expected"),
        ("\u{feff}{}", "1:1: the file begins with a byte order mark"),
    ] {
        assert_eq!(first_problem("m.json", text), expected, "{text:?}");
    }
    assert_eq!(first_problem("m.json", vec![b'"', 0xff, b'"']), "0:0: the file is not UTF-8 text");
}

#[test]
fn size_and_depth_are_bounded_in_every_language() {
    let long = " ".repeat(LONGEST_FILE) + "{}";
    for name in ["m.json", "m.yaml", "m.toml"] {
        assert_eq!(first_problem(name, long.as_str()), "0:0: the file is longer than 1 MiB", "{name}");
    }
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for name in ["m.json", "m.yaml"] {
        assert!(read(name, nested(32)).is_ok(), "{name}");
        assert!(first_problem(name, nested(33)).ends_with("nested deeper than 32 levels"), "{name}");
        assert!(read(name, "[".repeat(LONGEST_FILE)).is_err(), "{name}");
        assert!(read(name, "{\"a\":".repeat(10_000)).is_err(), "{name}");
    }
    assert!(read("m.toml", format!("a = {}", nested(31))).is_ok());
    assert!(read("m.toml", format!("a = {}", nested(33))).is_err());
    assert!(read("m.toml", format!("a = {}", "[".repeat(100_000))).is_err());
    assert!(read("m.yaml", "- ".repeat(1000)).is_err());
}

#[test]
fn yaml_says_what_json_could_say() {
    for (text, expected) in [
        ("a: 1\nb: [x, 'y', \"z\"]\nc:\n  - d: true\n", r#"{a:1,b:["x","y","z"],c:[{d:true}]}"#),
        ("a: 10MiB\nb: api.example:443\nc: '443'", r#"{a:"10MiB",b:"api.example:443",c:"443"}"#),
        ("a:\nb: ~\nc: null", "{a:null,b:null,c:null}"),
        (
            "a: yes\nb: No\nc: 0777\nd: 1e3\ne: 1.0\nf: .inf\ng: +1\nh: True\ni: 0x1f\nj: 1_000",
            "{a:?yes,b:?No,c:?0777,d:?1e3,e:?1.0,f:?.inf,g:?+1,h:?True,i:?0x1f,j:?1_000}",
        ),
        ("a: 10.0.0.0/8\nb: 10.0.0.1\nc: 0.0.0.0", r#"{a:"10.0.0.0/8",b:"10.0.0.1",c:"0.0.0.0"}"#),
        ("a: |\n  two\n  lines\n", r#"{a:"two\nlines\n"}"#),
        ("# only a remark\n{a: 1}", "{a:1}"),
        ("---\na: 1\n...\n", "{a:1}"),
        ("1: a", "{1:\"a\"}"),
    ] {
        assert_eq!(read("m.yaml", text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn yaml_that_grows_or_surprises_is_refused() {
    for (text, expected) in [
        ("a: &x 1\nb: *x", "1:4: an anchor (`&name`) is not permitted"),
        ("a: &x [1]\nb: [*x, *x]", "1:4: an anchor (`&name`) is not permitted"),
        ("a: !!str 1", "1:4: a tag (`!name`) is not permitted"),
        ("a: 1\na: 2", "2:1: `a` is there twice"),
        ("a: 1\n\"a\": 2", "2:1: `a` is there twice"),
        ("a: 1\n---\nb: 2", "2:1: the file has more than one document"),
        ("? [a]\n: 1", "1:3: a key must be text"),
        ("", "0:0: the file is empty"),
        ("# nothing", "0:0: the file is empty"),
    ] {
        let found = first_problem("m.yaml", text);
        assert_eq!(found, expected, "{text:?}");
    }
    for text in ["deny: [*]", "allow:\n  - *.example.com\n", "deny: *"] {
        let problems = read("m.yaml", text).expect_err(text);
        assert!(problems.to_string().contains("in quotes"), "{problems}");
    }
}

#[test]
fn toml_is_read_with_places() {
    assert_eq!(read("s.toml", "[a]\nb = 1\nc = [\"x\"]\n").as_deref(), Ok("{a:{b:1,c:[\"x\"]}}"));
    assert_eq!(
        read("s.toml", "a = 1.5\nb = 0x1f\nc = 2020-01-01\n").as_deref(),
        Ok("{a:?1.5,b:?0x1f,c:?2020-01-01}")
    );
    assert!(first_problem("s.toml", "[a]\nb = 1\nb = 2\n").starts_with("3:1: "));
    assert!(first_problem("s.toml", "a = \nb = 1\n").starts_with("1:"));
}

#[test]
fn the_format_follows_the_name_and_else_the_text() {
    for (name, text, format) in [
        ("a.json", "a: 1", Format::Json),
        ("a.yml", "{}", Format::Yaml),
        ("a.toml", "{}", Format::Toml),
        ("stdin", " {\"a\":1}", Format::Json),
        ("stdin", "a: 1", Format::Yaml),
    ] {
        assert_eq!(Source::new(name, text).format(), format, "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_stumble(text in "\\PC{0,60}|[\\[\\]{}:,\"'a1\\-\\\\ \n*&!|>#?]{0,60}") {
        for name in ["m.json", "m.yaml", "m.toml"] {
            if let Err(problems) = read(name, text.as_str()) {
                prop_assert!(!problems.is_empty());
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }

    #[test]
    fn json_is_accepted_exactly_when_serde_accepts_it(text in "[\\[\\]{}:,\"a1.eE+\\- ]{0,12}|\\{\"[ab]\": ?[0-9.e-]{1,6}\\}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        let ours = read("m.json", text.as_str());
        let only_duplicates = ours.as_ref().is_err_and(|problems| problems.iter().all(|p| p.message.ends_with("twice")));
        // serde_json also refuses numbers beyond f64, which we keep for the walker to refuse.
        let out_of_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
        prop_assert!(ours.is_ok() == theirs.is_ok() || only_duplicates || out_of_range, "{:?} {:?}", ours, theirs);
    }
}
