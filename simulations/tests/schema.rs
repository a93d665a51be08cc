//! `docs/scenario.schema.json` says what `Scenario::parse` takes: the built-in scenarios hold to it, and what one of
//! the two refuses the other does.

#![allow(clippy::panic, clippy::unwrap_used)]

use serde_json::Value;
use simulations::scenario::{Scenario, builtins};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/scenario.schema.json")).unwrap()
}

/// What stands against `value` being as `part` of the schema says: the keywords that it uses, no others.
fn against(schema: &Value, part: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (keyword, wanted) in part.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$ref" => {
                let name = wanted.as_str().unwrap().rsplit('/').next().unwrap();
                wrong.extend(against(schema, &schema["$defs"][name], value, at));
                true
            }
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64() || value.is_u64(),
                "boolean" => value.is_boolean(),
                other => panic!("the schema has a type {other}"),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value
                .as_i64()
                .is_none_or(|number| number >= wanted.as_i64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 <= wanted.as_u64().unwrap()),
            "anyOf" => {
                let mut options = wanted.as_array().unwrap().iter();
                options.any(|option| against(schema, option, value, at).is_empty())
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    wrong.extend(against(schema, wanted, item, &format!("{at}[{n}]")));
                }
                true
            }
            "required" => {
                let mut keys = wanted.as_array().unwrap().iter();
                keys.all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (key, part) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        wrong.extend(against(schema, part, value, &format!("{at}.{key}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = &part["properties"];
                for (key, value) in value.as_object().into_iter().flatten() {
                    if known.get(key).is_none() {
                        match wanted {
                            Value::Bool(false) => wrong.push(format!("{at}: unknown key {key}")),
                            part => wrong.extend(against(schema, part, value, &format!("{at}.{key}"))),
                        }
                    }
                }
                true
            }
            "$schema" | "$defs" | "title" | "description" => true,
            other => panic!("the schema uses {other}, which this test does not know"),
        };
        if !holds {
            wrong.push(format!("{at}: {keyword} {wanted} does not hold for {value}"));
        }
    }
    wrong
}

fn faults(text: &str) -> Vec<String> {
    let value: Value = toml::from_str(text).unwrap();
    let schema = schema();
    against(&schema, &schema, &value, "scenario")
}

#[test]
fn every_built_in_scenario_holds_to_the_schema() {
    for (name, text) in builtins() {
        assert_eq!(faults(text), Vec::<String>::new(), "{name}");
        // Whatever is left out comes in its place when the program writes it.
        let written = Scenario::parse(text).unwrap().to_toml().unwrap();
        assert_eq!(faults(&written), Vec::<String>::new(), "{name}, written anew");
    }
}

const HEAD: &str = "name = \"x\"\nabout = \"A test.\"\npeers = 4\n";

#[test]
fn both_refuse_what_is_wrong() {
    for wrong in [
        "colour = 1",
        "[topology]\nkind = \"round\"",
        "[wire]\nspeed = \"1s\"",
        "[[event]]\nat = \"1s\"\nexplode = 1",
        "[[event]]\ncrash = 1",
        "[[event]]\nat = \"1s\"\ncut = [1]",
        "[[expect]]\nat = \"1s\"\nhappy = \"all\"",
        "[rest]\nskip = [\"everything\"]",
    ] {
        let text = format!("{HEAD}{wrong}\n");
        assert!(Scenario::parse(&text).is_err(), "the parser takes {wrong}");
        assert!(!faults(&text).is_empty(), "the schema takes {wrong}");
    }
}

/// A key that one of the two does not know is an unknown key there, whatever its value.
#[test]
fn both_know_the_same_events_and_expectations() {
    let schema = schema();
    for (table, besides) in [("event", 1), ("expect", 3)] {
        let keys = schema["properties"][table]["items"]["properties"]
            .as_object()
            .unwrap();
        assert!(keys.len() > besides + 15);
        for key in keys
            .keys()
            .filter(|key| !["at", "within", "hold"].contains(&key.as_str()))
        {
            let text = format!("{HEAD}[[{table}]]\nat = \"1s\"\n{key} = [[[]]]\n");
            let error = Scenario::parse(&text).unwrap_err().to_string();
            assert!(
                !error.contains(&format!("unknown field `{key}`")),
                "{key}: {error}"
            );
        }
        let text = format!("{HEAD}[[{table}]]\nat = \"1s\"\n");
        let error = Scenario::parse(&text).unwrap_err().to_string();
        let (_, named) = error
            .split_once("add one of ")
            .unwrap_or_else(|| panic!("{error}"));
        for key in named.split(", ") {
            assert!(keys.contains_key(key.trim()), "the schema does not know {key}");
        }
    }
}
