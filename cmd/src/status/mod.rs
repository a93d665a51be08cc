//! What `weft status` shows: [`model`] is the JSON that scripts may rely on (`docs/status.schema.json`), [`table`]
//! what people read; [`listing`] is what other verbs list.

pub(crate) mod listing;
pub(crate) mod model;
pub(crate) mod table;
