//! Real runtimes call the plugin, if they are installed.
