//! Whether anybody still waits for a statement, for functions that compute for long within one batch.
//!
//! The engine stops a query between two batches. A function that scores a whole batch asks in between, through the
//! options of the session that planned it: they are all a function is given beside its arguments.

use std::any::Any;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::common::config_err;
use datafusion::error::DataFusionError;

use crate::interrupt::Interrupt;

/// Whether anybody still waits for a statement. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// The wish of the user.
    interrupt: Interrupt,
    /// That the rows of the statement were dropped, all read or not.
    dropped: Interrupt,
}

impl Stop {
    pub(super) fn new(interrupt: &Interrupt) -> Self {
        Self { interrupt: interrupt.clone(), dropped: Interrupt::default() }
    }

    /// Whether to stop.
    pub fn is_asked(&self) -> bool {
        self.interrupt.is_set() || self.dropped.is_set()
    }

    /// Says that nobody waits any more.
    pub(super) fn ask(&self) {
        self.dropped.set();
    }
}

impl ConfigExtension for Stop {
    const PREFIX: &'static str = "piref";
}

impl ExtensionOptions for Stop {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<(), DataFusionError> {
        config_err!("there is no option `{}.{key}`", Self::PREFIX)
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{Hash, Hasher};
    use std::sync::Mutex;
    use std::sync::mpsc::{self, Sender};

    use arrow::datatypes::DataType;
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    };

    use super::*;
    use crate::query::{Extra, Function, Kind, Resources, Session};

    /// A function that hands out what it could ask.
    #[derive(Debug)]
    struct Tells {
        to: Mutex<Sender<Option<Stop>>>,
        signature: Signature,
    }

    impl PartialEq for Tells {
        fn eq(&self, _: &Self) -> bool {
            true
        }
    }

    impl Eq for Tells {}

    impl Hash for Tells {
        fn hash<H: Hasher>(&self, _: &mut H) {}
    }

    impl ScalarUDFImpl for Tells {
        fn name(&self) -> &'static str {
            "tells"
        }

        fn signature(&self) -> &Signature {
            &self.signature
        }

        fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
            Ok(DataType::Boolean)
        }

        fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
            self.to.lock().unwrap().send(args.config_options.extensions.get().cloned()).unwrap();
            Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
        }
    }

    #[test]
    fn a_function_sees_that_its_rows_are_dropped_or_that_the_user_has_enough() {
        let (sender, receiver) = mpsc::channel();
        let tells = Tells { to: Mutex::new(sender), signature: Signature::nullary(Volatility::Volatile) };
        let function = Function { call: "tells()", kind: Kind::Scalar, doc: "", example: "", answer: "" };
        let functions = vec![Extra { function, udf: ScalarUDF::new_from_impl(tells) }];
        let interrupt = Interrupt::default();
        let session =
            Session::with(Resources { functions, interrupt: interrupt.clone(), ..Resources::default() }).unwrap();
        let start = || {
            let mut rows = session.rows("SELECT tells()").unwrap();
            assert_eq!(rows.next().unwrap().unwrap().num_rows(), 1);
            (rows, receiver.recv().unwrap().unwrap())
        };
        let (rows, stop) = start();
        let (others, other) = start();
        assert!(!stop.is_asked() && !other.is_asked());
        drop(rows);
        assert!(stop.is_asked(), "its rows were dropped");
        assert!(!other.is_asked(), "one statement ends, another goes on");
        interrupt.set();
        assert!(other.is_asked());
        drop(others);
        interrupt.clear();
        assert!(other.is_asked(), "what was dropped stays so, whoever forgets the wish of the user");
    }
}
