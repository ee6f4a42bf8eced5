//! Files of every format and container, read whole.
