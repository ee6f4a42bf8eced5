//! The command line as a user meets it: exit code, standard output, standard error.

mod data_names;
mod failures;
mod help;
mod help_policies;
mod help_queries;
mod help_sft;
mod help_tables;
mod hints;
mod interchange;
mod screens;
mod sql;
mod sql_files;
mod streams;
mod tables;
