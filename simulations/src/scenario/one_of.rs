//! Tables in which exactly one key says what is meant, beside keys that say when.

/// Makes a struct with common fields and an enum, read from one flat table: of the enum's keys exactly one must be
/// there. (serde's own `flatten` would lose the line numbers, and cannot refuse unknown keys.)
macro_rules! one_of {
    (
        $(#[$about:meta])* $table:ident from $raw:ident $raw_name:literal {
            $($(#[$field_about:meta])* $field:ident: $field_type:ty,)*
        }
        $(#[$choice_about:meta])* $what:ident: $choice:ident {
            $($(#[$variant_about:meta])* $key:ident $variant:ident($type:ty),)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = $raw_name, into = $raw_name)]
        pub struct $table {
            $($(#[$field_about])* pub $field: $field_type,)*
            /// What.
            pub $what: $choice,
        }

        $(#[$choice_about])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $choice {
            $($(#[$variant_about])* $variant($type),)*
        }

        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $raw {
            $($(#[$field_about])* $field: $field_type,)*
            $(#[serde(default, skip_serializing_if = "Option::is_none")] $key: Option<$type>,)*
        }

        impl TryFrom<$raw> for $table {
            type Error = String;

            fn try_from(raw: $raw) -> Result<Self, String> {
                let mut found = Vec::new();
                $(if let Some(value) = raw.$key {
                    found.push((stringify!($key), $choice::$variant(value)));
                })*
                if found.len() > 1 {
                    let keys: Vec<_> = found.iter().map(|(key, _)| *key).collect();
                    return Err(format!("{} in one table: say them in two", keys.join(" and ")));
                }
                let keys = [$(stringify!($key)),*];
                let (_, $what) = found.pop().ok_or_else(|| format!("it says nothing; add one of {}", keys.join(", ")))?;
                Ok(Self { $($field: raw.$field,)* $what })
            }
        }

        impl From<$table> for $raw {
            fn from(table: $table) -> Self {
                let mut raw = Self { $($field: table.$field,)* $($key: None,)* };
                match table.$what {
                    $($choice::$variant(value) => raw.$key = Some(value),)*
                }
                raw
            }
        }

        impl $choice {
            /// The key by which it is said.
            #[must_use]
            pub fn key(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($key),)*
                }
            }
        }
    };
}
pub(super) use one_of;
