//! Lists of token ids as SQL has them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int64Type, UInt32Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::DataFusionError;

/// What stands for something that is no token id: outside of every vocabulary.
const NO_TOKEN: u32 = u32::MAX;

/// The type a list of token ids is taken in: its own where it is that of a log-prob table, and otherwise one that any
/// number fits into, so that what is no token id is found in its row.
pub(super) fn list_type(found: &DataType) -> Result<DataType, DataFusionError> {
    let item = match found {
        DataType::Null => &DataType::Null,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type(),
        _ => return plan_err!("expected a list of token ids, found {found}"),
    };
    match (found, item) {
        (DataType::List(_), DataType::UInt32) => Ok(found.clone()),
        (_, item) if item.is_integer() || item.is_null() => {
            Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))))
        }
        _ => plan_err!("expected a list of token ids, found {found}"),
    }
}

/// A column of such lists.
pub(super) struct IdLists {
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
    ids: ScalarBuffer<u32>,
}

impl IdLists {
    /// A column of a [`list_type`].
    pub(super) fn of(column: &ArrayRef) -> Result<Self, DataFusionError> {
        let Some(lists) = column.as_list_opt::<i32>() else {
            return exec_err!("expected a list of token ids, found {}", column.data_type());
        };
        let items = lists.values();
        let ids = if let Some(items) = items.as_primitive_opt::<UInt32Type>() {
            if items.null_count() == 0 {
                items.values().clone()
            } else {
                items.iter().map(|id| id.unwrap_or(NO_TOKEN)).collect()
            }
        } else if let Some(items) = items.as_primitive_opt::<Int64Type>() {
            let id = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok()).unwrap_or(NO_TOKEN);
            items.iter().map(id).collect()
        } else {
            return exec_err!("expected a list of token ids, found {}", column.data_type());
        };
        Ok(Self { offsets: lists.offsets().clone(), nulls: lists.nulls().cloned(), ids })
    }

    /// The ids of a row, `None` where it is null.
    pub(super) fn row(&self, row: usize) -> Option<&[u32]> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let place = |offset: i32| usize::try_from(offset).unwrap_or_default();
        self.ids.get(place(self.offsets[row])..place(self.offsets[row + 1]))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray, UInt32Array};

    use super::*;

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("element", item, false)))
    }

    #[test]
    fn lists_of_integers_are_taken_and_nothing_else() {
        assert_eq!(list_type(&list(DataType::UInt32)).unwrap(), list(DataType::UInt32));
        let wide = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        for found in [
            DataType::Null,
            list(DataType::Null),
            list(DataType::Int64),
            DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::UInt32, true)), 3),
        ] {
            assert_eq!(list_type(&found).unwrap(), wide, "{found}");
        }
        for found in [DataType::Utf8, DataType::UInt32, list(DataType::Float64), list(DataType::Utf8)] {
            assert!(list_type(&found).is_err(), "{found}");
        }
    }

    #[test]
    fn rows_of_a_slice_are_its_own_and_what_is_no_id_is_outside_of_every_vocabulary() {
        let items = Int64Array::from(vec![Some(1), Some(2), None, Some(-3), Some(1 << 32), Some(7)]);
        let offsets = OffsetBuffer::new(vec![0, 2, 2, 5, 6].into());
        let nulls = NullBuffer::from(vec![true, false, true, true]);
        let item = Arc::new(Field::new_list_field(DataType::Int64, true));
        let lists = ListArray::new(item, offsets, Arc::new(items), Some(nulls));
        let ids = IdLists::of(&(Arc::new(lists.slice(1, 3)) as ArrayRef)).unwrap();
        assert_eq!(ids.row(0), None);
        assert_eq!(ids.row(1), Some([NO_TOKEN; 3].as_slice()));
        assert_eq!(ids.row(2), Some([7].as_slice()));
    }

    #[test]
    fn ids_of_a_table_are_not_copied() {
        let items = UInt32Array::from(vec![4, 5, 6]);
        let start = items.values().as_ptr();
        let item = Arc::new(Field::new("element", DataType::UInt32, false));
        let lists = ListArray::new(item, OffsetBuffer::new(vec![0, 1, 3].into()), Arc::new(items), None);
        let ids = IdLists::of(&(Arc::new(lists) as ArrayRef)).unwrap();
        assert_eq!(ids.row(1), Some([5, 6].as_slice()));
        assert_eq!(ids.ids.as_ptr(), start);
    }
}
