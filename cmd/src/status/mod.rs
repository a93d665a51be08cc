//! What `weft status` shows: [`model`] is the JSON that scripts may rely on (`docs/status.schema.json`), [`table`]
//! what people read.

pub(crate) mod model;
pub(crate) mod table;
