//! Checks values against `docs/status.schema.json`, as far as that schema goes: `type`, `enum`, `required`,
//! `properties`, `additionalProperties`, `items`, `minimum`, `$ref` into `$defs`.

use serde_json::Value;

const SCHEMA: &str = include_str!("../../../docs/status.schema.json");
/// Keywords that the checker obeys, or that assert nothing.
const KNOWN: [&str; 14] = [
    "$schema",
    "$id",
    "$ref",
    "$defs",
    "title",
    "description",
    "type",
    "enum",
    "const",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "minimum",
];

/// Every way in which `value` is not as the schema says.
pub(crate) fn faults(value: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut faults = Vec::new();
    check(&root, &root, value, "$", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    if let Some(target) = schema["$ref"].as_str() {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return check(
            root,
            target.expect("a reference into the schema"),
            value,
            at,
            faults,
        );
    }
    if let Some(allowed) = schema.as_bool() {
        if !allowed {
            faults.push(format!("{at}: may not be there"));
        }
        return;
    }
    for keyword in schema.as_object().unwrap().keys() {
        assert!(
            KNOWN.contains(&keyword.as_str()),
            "the checker does not know {keyword:?}"
        );
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().map(|one| one.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|kind| is(value, kind)) {
        faults.push(format!("{at}: {value} is not of type {types:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        faults.push(format!("{at}: {value} is none of {allowed:?}"));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        faults.push(format!("{at}: {number} is less than {least}"));
    }
    check_object(root, schema, value, at, faults);
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if schema.get("items").is_some() {
            check(root, &schema["items"], item, &format!("{at}[{index}]"), faults);
        }
    }
}

fn check_object(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let Some(object) = value.as_object() else { return };
    for key in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(key.as_str().unwrap()) {
            faults.push(format!("{at}: {key} is missing"));
        }
    }
    for (key, item) in object {
        let property = schema["properties"]
            .get(key)
            .or(schema.get("additionalProperties"));
        if let Some(property) = property {
            check(root, property, item, &format!("{at}.{key}"), faults);
        }
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("no type of JSON: {kind}"),
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let wrong = serde_json::json!({
        "version": 1, "name": "h1", "peer_id": "x", "encrypted": true, "listen": "", "peers": [{"self": true}],
        "connections": [], "routes": [], "targets": [], "attachments": [], "drops": {"replayed": -1}, "more": null,
    });
    let faults = faults(&wrong);
    for part in [
        "$.version",
        "$.peers[0]: \"links\" is missing",
        "$.drops.replayed",
        "$.more",
    ] {
        assert!(
            faults.iter().any(|fault| fault.starts_with(part)),
            "{part}: {faults:#?}"
        );
    }
}
