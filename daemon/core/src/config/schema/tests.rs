use serde_json::json;

use super::*;

fn schema(value: Value) -> Schema {
    Schema::compile(&value).expect("a fine schema")
}

fn said(schema_json: Value, value: Value) -> Vec<String> {
    let violations = schema(schema_json).validate(&value, &Masks::default());
    violations.iter().map(ToString::to_string).collect()
}

fn broken(value: Value) -> String {
    Schema::compile(&value)
        .expect_err("a broken schema")
        .to_string()
}

#[test]
fn every_keyword_holds() {
    // schema, a value that fits, one that does not, what is said of it
    let cases = [
        (
            json!({"type": "string"}),
            json!("a"),
            json!(1),
            "has to be a string, not an integer",
        ),
        (
            json!({"type": "integer"}),
            json!(1),
            json!(1.5),
            "has to be an integer, not a number with a fraction",
        ),
        (
            json!({"type": "number"}),
            json!(1),
            json!("1"),
            "has to be a number, not a string",
        ),
        (
            json!({"type": "number"}),
            json!(1.5),
            json!(true),
            "has to be a number, not a boolean",
        ),
        (
            json!({"type": "boolean"}),
            json!(true),
            json!("x"),
            "has to be true or false, not a string",
        ),
        (
            json!({"type": "array"}),
            json!([]),
            json!({}),
            "has to be an array, not a table",
        ),
        (
            json!({"type": "object"}),
            json!({}),
            json!([]),
            "has to be a table, not an array",
        ),
        (
            json!({"type": ["integer", "null"]}),
            json!(1),
            json!("a"),
            "has to be an integer, not a string",
        ),
        (
            json!({"enum": ["a", 2]}),
            json!(2),
            json!("b"),
            "has to be `a` or `2`, is `b`",
        ),
        (
            json!({"const": true}),
            json!(true),
            json!(false),
            "has to be `true`, is `false`",
        ),
        (
            json!({"minimum": 2}),
            json!(2),
            json!(1),
            "has to be at least 2, is `1`",
        ),
        (
            json!({"maximum": 2}),
            json!(2),
            json!(2.5),
            "has to be at most 2, is `2.5`",
        ),
        (
            json!({"minimum": 1, "maximum": 2}),
            json!(2),
            json!(3),
            "has to be from 1 to 2, is `3`",
        ),
        (
            json!({"exclusiveMinimum": 2}),
            json!(2.1),
            json!(2),
            "has to be above 2, is `2`",
        ),
        (
            json!({"exclusiveMaximum": 2}),
            json!(1.9),
            json!(2),
            "has to be below 2, is `2`",
        ),
        (
            json!({"minLength": 2}),
            json!("äö"),
            json!("a"),
            "needs at least 2 characters, has 1",
        ),
        (
            json!({"maxLength": 1}),
            json!("ä"),
            json!("ab"),
            "may have at most 1 character, has 2",
        ),
        (
            json!({"pattern": "^a+$"}),
            json!("aa"),
            json!("ab"),
            "has to match `^a+$`, is `ab`",
        ),
        (
            json!({"pattern": "^a", "format": "name"}),
            json!("a"),
            json!("b"),
            "is no valid name, is `b`",
        ),
        (
            json!({"format": "duration"}),
            json!("5s"),
            json!("5"),
            "has no unit after `5`",
        ),
        (
            json!({"minItems": 1}),
            json!([1]),
            json!([]),
            "may not be empty",
        ),
        (
            json!({"minItems": 2}),
            json!([1, 2]),
            json!([1]),
            "needs at least 2 entries, has 1",
        ),
        (
            json!({"maxItems": 1}),
            json!([1]),
            json!([1, 2]),
            "may have at most 1 entry, has 2",
        ),
        (
            json!({"allOf": [{"minimum": 1}, {"maximum": 5}]}),
            json!(3),
            json!(9),
            "has to be at most 5, is `9`",
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}),
            json!("a"),
            json!(true),
            "has to be a string or an integer, not a boolean",
        ),
        (
            json!({"anyOf": [{"type": "string", "minLength": 3}, {"type": "integer"}]}),
            json!(1),
            json!("a"),
            "needs at least 3 characters, has 1",
        ),
        (
            json!({"oneOf": [{"const": "a"}, {"const": "b"}]}),
            json!("b"),
            json!("c"),
            "has to be `a` or `b`, is `c`",
        ),
        (
            json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]}),
            json!(1),
            json!(2),
            "fits 2 of the forms that exclude each other",
        ),
        (
            json!({"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}}),
            json!("a"),
            json!(1),
            "has to be a string, not an integer",
        ),
        (json!(true), json!(1), json!(null), ""),
    ];
    for (rules, right, wrong, what) in cases {
        let wrap = json!({"properties": {"v": rules}, "$defs": rules.get("$defs").cloned().unwrap_or(json!({}))});
        assert_eq!(
            said(wrap.clone(), json!({"v": right})),
            Vec::<String>::new(),
            "{rules}"
        );
        if !what.is_empty() {
            assert_eq!(
                said(wrap, json!({"v": wrong})),
                [format!("option `v` {what}")],
                "{rules}"
            );
        }
    }
    assert_eq!(
        said(json!({"properties": {"v": false}}), json!({"v": 1})),
        ["option `v` is not allowed here"]
    );
}

#[test]
fn every_violation_is_told_with_its_path() {
    let rules = json!({
        "additionalProperties": false,
        "required": ["url", "port"],
        "properties": {
            "url": {"type": "string"},
            "port": {"type": "integer"},
            "list": {"items": {"additionalProperties": {"type": "integer"}}},
        },
    });
    let value = json!({"ulr": "x", "list": [{"a": 1}, {"a b": "x", "c": 2.5}], "colour": 1});
    assert_eq!(
        said(rules, value),
        [
            "option `list[1].\"a b\"` has to be an integer, not a string",
            "option `list[1].c` has to be an integer, not a number with a fraction",
            "unknown option `colour`",
            // `url` is not missing: it is misspelt.
            "unknown option `ulr`",
            "option `port` is missing",
        ]
    );
}

#[test]
fn what_excludes_each_other_is_named() {
    let rules = json!({"oneOf": [{"required": ["host"]}, {"required": ["unix"]}]});
    assert_eq!(
        said(rules.clone(), json!({})),
        ["`config` needs `host` or `unix`"]
    );
    assert_eq!(
        said(rules.clone(), json!({"host": 1, "unix": 2})),
        ["`config` may have only one of `host` and `unix`"]
    );
    assert!(said(rules, json!({"host": 1})).is_empty());
}

#[test]
fn a_recursive_schema_is_fine() {
    let rules = json!({
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"type": "object", "additionalProperties": {"$ref": "#/$defs/tree"}}},
    });
    assert!(said(rules.clone(), json!({"a": {"b": {}}})).is_empty());
    assert_eq!(
        said(rules, json!({"a": {"b": 1}})),
        ["option `a.b` has to be a table, not an integer"]
    );
    let to_root = json!({"properties": {"a": {"$ref": "#"}, "n": {"type": "integer"}}});
    assert_eq!(said(to_root, json!({"a": {"a": {"n": "x"}}})).len(), 1);
}

#[test]
fn unknown_keywords_are_ignored() {
    let rules = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "x", "title": "t", "examples": [1],
        "if": 5, "not": {}, "patternProperties": 7, "uniqueItems": "yes", "format": "uri", "default": {},
    });
    assert!(said(rules, json!({"a": 1})).is_empty());
}

#[test]
fn a_broken_schema_says_where() {
    let cases = [
        (
            json!(5),
            "a schema is a table or a boolean, not an integer at /",
        ),
        (json!({"type": "int"}), "`type` \"int\" does not exist at /"),
        (json!({"type": []}), "`type` is no string at /"),
        (
            json!({"properties": {"a/b": {"type": 5}}}),
            "`type` is no string at /properties/a~1b",
        ),
        (json!({"properties": []}), "`properties` is no table at /"),
        (
            json!({"required": [1]}),
            "`required` is no array of strings at /",
        ),
        (json!({"enum": 1}), "`enum` is no array at /"),
        (json!({"minimum": "1"}), "`minimum` is no number at /"),
        (
            json!({"minLength": -1}),
            "`minLength` is no whole number from 0 at /",
        ),
        (
            json!({"items": 1}),
            "a schema is a table or a boolean, not an integer at /items",
        ),
        (
            json!({"anyOf": []}),
            "`anyOf` is no array with schemas in it at /",
        ),
        (
            json!({"oneOf": [{}, 1]}),
            "a schema is a table or a boolean, not an integer at /oneOf/1",
        ),
        (
            json!({"$ref": "#/$defs/x"}),
            "`$ref` \"#/$defs/x\" leads to nothing at /",
        ),
        (
            json!({"$ref": "http://x/"}),
            "`$ref` \"http://x/\" leads out of the schema; only \"#/...\" is supported at /",
        ),
        (json!({"$ref": "#"}), "a `$ref` leads back to itself at /"),
        (
            json!({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"allOf": [{"$ref": "#"}]}}}),
            "a `$ref` leads back to itself at /",
        ),
    ];
    for (rules, what) in cases {
        assert_eq!(broken(rules.clone()), what, "{rules}");
    }
    assert!(broken(json!({"pattern": "("})).starts_with("`pattern` is no regular expression: "));
    assert!(broken(json!({"pattern": "((a{1000}){1000}){1000}"})).starts_with("`pattern` is no"));
}

#[test]
fn a_hostile_schema_costs_little() {
    // Each level tries the next one twice: 2^60 ways.
    let mut defs = serde_json::Map::new();
    for i in 0..60 {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        defs.insert(format!("d{i}"), json!({"anyOf": [next, next]}));
    }
    defs.insert("d60".into(), json!({"type": "string"}));
    let bomb = json!({"$ref": "#/$defs/d0", "$defs": defs});
    assert_eq!(
        said(bomb, json!(5)),
        ["`config` is too much to check against the plugin's schema"]
    );

    // A chain of references, each known when the next is read.
    let mut properties = serde_json::Map::new();
    properties.insert("a0000".into(), json!({"type": "string"}));
    for i in 1..5_000 {
        let before = json!({"$ref": format!("#/properties/a{:04}", i - 1)});
        properties.insert(format!("a{i:04}"), before);
    }
    let chain = json!({"properties": properties});
    assert_eq!(
        said(chain, json!({"a4999": 1})),
        ["`config` is too much to check against the plugin's schema"]
    );

    // The same chain met from its end would take a stack frame for each link.
    let mut defs = serde_json::Map::new();
    for i in 0..5_000 {
        defs.insert(
            format!("d{i}"),
            json!({"$ref": format!("#/$defs/d{}", i + 1)}),
        );
    }
    assert!(
        broken(json!({"$ref": "#/$defs/d0", "$defs": defs})).contains("nests more than 128 levels")
    );
}

#[test]
fn secrets_are_judged_but_not_shown() {
    let rules = schema(json!({"properties": {
        "p": {"type": "string", "pattern": "^x"}, "d": {"format": "duration"}, "e": {"enum": ["a"]}, "n": {"type": "integer"},
    }}));
    let value = json!({"p": "hunter2", "d": "hunter2", "e": "hunter2", "n": "7"});
    let masks = |sight| Masks {
        paths: ["p", "d", "e", "n"]
            .map(|k| (vec![Step::Key(k.into())], sight))
            .into(),
    };
    let wrong = rules.validate(&value, &masks(Sight::Secret));
    assert_eq!(wrong.len(), 4);
    assert!(
        !format!("{wrong:?}").contains("hunter2") && !format!("{wrong:?}").contains('7'),
        "{wrong:?}"
    );
    // Of an unread one nothing is known but that it is a string.
    let wrong = rules.validate(&value, &masks(Sight::Unread));
    assert_eq!(
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["option `n` has to be an integer, not a string"]
    );
}

#[test]
fn a_table_is_a_secret_only_where_the_plugin_takes_none() {
    let rules = schema(json!({"properties": {
        "password": {"type": "string"},
        "any": {},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object"},
        "source": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"file": {}}, "additionalProperties": false}]},
        "strict": {"type": "object", "properties": {"x": {}}, "additionalProperties": false},
    }}));
    let takes = |option: &str, key: &str| rules.takes_table_with(&[Step::Key(option.into())], key);
    assert!(!takes("password", "env"));
    assert!(!takes("any", "env"));
    assert!(takes("env", "file") && takes("free", "file") && takes("source", "file"));
    assert!(!takes("source", "env") && !takes("strict", "env"));
    let inside = [Step::Key("env".into()), Step::Key("PASSWORD".into())];
    assert!(!rules.takes_table_with(&inside, "env"));
}

#[test]
fn a_keyword_that_nobody_checks_is_known() {
    let schema = Schema::compile(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "title": "t", "x-secret": true,
        "properties": {
            "n": {"type": "integer", "multipleOf": 5, "default": 5},
            "u": {"type": "string", "format": "uri"},
            "p": {"type": "string", "format": "path", "pattern": "^/"},
            "d": {"type": "string", "format": "duration"},
            "l": {"type": "array", "uniqueItems": true, "items": {"minimun": 3}},
        },
        "patternProperties": {"^x": {}},
    }))
    .expect("it is whole");
    let ignored: Vec<String> = schema.ignored().iter().map(ToString::to_string).collect();
    assert_eq!(
        ignored,
        [
            "`patternProperties` at /",
            "`uniqueItems` at /properties/l",
            "`minimun` at /properties/l/items",
            "`multipleOf` at /properties/n",
            "`format: uri` at /properties/u",
        ]
    );
}

#[test]
fn formats_are_parsed_by_the_host() {
    let schema = Schema::compile(&json!({"properties": {
        "d": {"format": "duration"}, "s": {"format": "size"}, "a": {"format": "amount"}, "r": {"format": "rate"},
        "old": {"format": "duration", "pattern": "^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$"},
        "number": {"type": "string", "format": "duration"}, "text": {"type": "string"},
        "path": {"format": "path", "pattern": "^/"}, "range": {"format": "range", "pattern": "^[0-9]*:[0-9]*$"},
    }}))
    .expect("it is whole");
    let said = |value: Value| -> Vec<String> {
        let all = schema.validate(&value, &Masks::default());
        all.iter()
            .map(|v| format!("{v}; {}", v.help.as_deref().unwrap_or_default()))
            .collect()
    };
    for good in ["1.5s", "1m30s"] {
        assert!(said(json!({"d": good})).is_empty(), "{good}");
    }
    assert!(said(json!({"s": "1.5GiB", "a": "5%", "r": "50/s", "old": "1.5s"})).is_empty());
    assert_eq!(
        said(json!({"d": "1h30min", "s": "5gb", "a": "101%", "r": "5/min", "old": "1m30s"})),
        [
            "option `a` is more than the whole; write a share or a size, as in `5%` or `10GiB`",
            "option `d` has an unknown unit `min`; write `1h30m`",
            "option `old` is no valid duration, is `1m30s`; this plugin takes one unit: write `90s`",
            "option `r` has an unknown unit \"/min\"; write `5/m`",
            "option `s` has an unknown unit `gb`; write `5GB`",
        ]
    );
    // What a help says to write is right.
    assert_eq!(
        said(json!({"number": 500, "text": 5, "path": "c.pem", "range": "5-10"})),
        [
            "option `number` has to be a string, not an integer; write `\"500s\"` or `\"500ms\"`",
            "option `path` is no valid path, is `c.pem`; write a full path, from / on",
            "option `range` is no valid range, is `5-10`; write `10` (0 to 10), `10:`, `~:10`, `10:20` or `@10:20` (not within)",
            "option `text` has to be a string, not an integer; write it in quotes: `\"5\"`",
        ]
    );
}
