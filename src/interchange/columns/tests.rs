use std::path::Path;

use serde_json::json;

use super::*;

fn columns(row: &Value) -> Vec<String> {
    row.as_object().unwrap().keys().cloned().collect()
}

/// Takes the scores out of a row; returns them and the columns that are left.
fn take(mut row: Value, map: &str) -> Result<(Scores, Vec<String>), String> {
    let map = if map.is_empty() { ImportMap::default() } else { map.parse().unwrap() };
    let layout = Layout::of(&columns(&row), &map).map_err(|error| match error {
        LayoutError::Missing(names) | LayoutError::Ambiguous(names) => names.join(", "),
    })?;
    let place = Place { path: Path::new("pairs.parquet"), row_idx: 7, line: None };
    let scores = layout.take(row.as_object_mut().unwrap(), &place).map_err(|error| error.to_string())?;
    Ok((scores, columns(&row)))
}

fn whole(logps: f64) -> CompletionLogps {
    CompletionLogps { whole: Some(logps), tokens: None }
}

#[test]
fn names_of_every_trl_are_known_and_none_is_left_in_the_row() {
    for row in [
        json!({"score": 1, "ref_chosen_logps": -1.5, "ref_rejected_logps": -2}),
        json!({"reference_chosen_logps": -1.5, "reference_rejected_logps": -2, "score": 1, "chosen_labels": [1]}),
    ] {
        let (scores, left) = take(row, "").unwrap();
        assert_eq!(scores, Scores { ids: None, chosen: whole(-1.5), rejected: whole(-2.0) });
        assert_eq!(left, ["score"]);
    }
    for [prompt, chosen, rejected] in IDS {
        let row = json!({
            prompt: [1], chosen: [2, 3], rejected: [4], "prompt_attention_mask": [1],
            "ref_chosen_logps": -1, "ref_rejected_logps": -2,
        });
        let (scores, left) = take(row, "").unwrap();
        assert_eq!(scores.ids, Some([vec![1], vec![2, 3], vec![4]]));
        assert!(left.is_empty(), "{left:?}");
    }
}

/// The ids of a row that has log-probs, and what its own terms become.
fn ids_of(row: Value, map: &str) -> Result<[Vec<u32>; 3], String> {
    let mut row = row;
    row["ref_chosen_logps"] = json!(-1);
    row["ref_rejected_logps"] = json!(-2);
    let (scores, left) = take(row, map)?;
    assert!(left.is_empty(), "{left:?}");
    Ok(scores.ids.unwrap())
}

#[test]
fn padding_and_prompts_in_front_are_not_scored() {
    let want = [vec![7, 8], vec![3, 4, 5], vec![6]];
    // Padded by a collator, the prompt on the left.
    let padded = json!({
        "prompt_input_ids": [0, 7, 8], "prompt_attention_mask": [0, 1, 1],
        "chosen_input_ids": [3, 4, 5], "chosen_attention_mask": [1, 1, 1],
        "rejected_input_ids": [6, 0, 0], "rejected_attention_mask": [1, 0, 0],
    });
    assert_eq!(ids_of(padded, "").unwrap(), want);
    // Prompt and completion together, as TRL before 0.12 wrote them: with the prompt beside them, and without.
    let labelled = json!({
        "prompt_input_ids": [7, 8],
        "chosen_input_ids": [7, 8, 3, 4, 5], "chosen_labels": [-100, -100, 3, 4, 5],
        "rejected_input_ids": [7, 8, 6, 0, 0], "rejected_labels": [-100, -100, 6, -100, -100],
        "rejected_attention_mask": [1, 1, 1, 0, 0],
    });
    assert_eq!(ids_of(labelled.clone(), "").unwrap(), want);
    let mut alone = labelled;
    alone.as_object_mut().unwrap().remove("prompt_input_ids");
    assert_eq!(ids_of(alone, "").unwrap(), want);
    // Other names, beside other names.
    let named = json!({
        "q_ids": [7, 8], "w_ids": [3, 4, 5, 0], "w_attention_mask": [1, 1, 1, 0], "l_ids": [6, 0], "keep": [1, 0],
    });
    let map = "prompt_ids=q_ids,chosen_ids=w_ids,rejected_ids=l_ids,rejected_attention_mask=keep";
    assert_eq!(ids_of(named, map).unwrap(), want);
    let masked = json!({
        "prompt_ids": [7, 8], "chosen_ids": [7, 8, 3, 4, 5], "chosen_completion_mask": [0, 0, 1, 1, 1],
        "rejected_ids": [7, 8, 6], "rejected_completion_mask": [0, 0, 1],
    });
    assert_eq!(ids_of(masked, "").unwrap(), want);
}

#[test]
fn a_completion_scored_in_part_is_refused_by_the_column_that_says_so() {
    let row = |chosen_labels: Value| {
        json!({
            "prompt_ids": [7, 8], "chosen_ids": [3, 4, 5], "chosen_labels": chosen_labels,
            "rejected_ids": [6], "rejected_labels": [6],
        })
    };
    let error = ids_of(row(json!([-100, 4, 5])), "").unwrap_err();
    let want =
        "`pairs.parquet`, row 7, column `chosen_labels`: the first 1 tokens are not scored and are not the prompt";
    assert!(error.starts_with(want), "{error}");
    let error = ids_of(row(json!([3, -100, 5])), "").unwrap_err();
    assert!(error.contains("the token at place 1 is not scored"), "{error}");
    assert_eq!(ids_of(row(json!([3, 4, -100])), "").unwrap()[1], [3, 4]);
    // Without a prompt, both have to have the same one.
    let other = json!({
        "chosen_ids": [7, 3], "chosen_labels": [-100, 3], "rejected_ids": [8, 6], "rejected_labels": [-100, 6],
    });
    assert!(ids_of(other, "").unwrap_err().contains("column `rejected_labels`: the first 1 tokens"));
}

#[test]
fn terms_are_cut_as_the_ids_beside_them() {
    let row = json!({
        "prompt_ids": [7], "chosen_ids": [7, 3, 4, 0], "chosen_labels": [-100, 3, 4, -100],
        "rejected_ids": [7, 6], "rejected_labels": [-100, 6],
        "ref_chosen_token_logps": [0, -1, -2, 0], "ref_rejected_token_logps": [-3],
    });
    let (scores, _) = take(row, "").unwrap();
    assert_eq!(scores.chosen.tokens, Some(vec![-1.0, -2.0]));
    assert_eq!(scores.rejected.tokens, Some(vec![-3.0]));
}

#[test]
fn two_names_for_one_thing_are_refused_and_what_nothing_reads_is_known() {
    let logps = json!({
        "ref_chosen_logps": -1, "ref_rejected_logps": -2,
        "reference_chosen_logps": -1, "reference_rejected_logps": -2,
    });
    assert_eq!(take(logps.clone(), "").unwrap_err(), "ref_chosen_logps, reference_chosen_logps");
    let map: ImportMap = "ref_chosen_logps=ref_chosen_logps,ref_rejected_logps=ref_rejected_logps".parse().unwrap();
    let layout = Layout::of(&columns(&logps), &map).unwrap();
    assert_eq!(layout.unread(), ["reference_chosen_logps", "reference_rejected_logps"]);
    let text = json!({"chosen": "a", "ref_chosen_logps": -1, "ref_rejected_logps": -2, "chosen_attention_mask": [1]});
    assert_eq!(Layout::of(&columns(&text), &ImportMap::default()).unwrap().unread(), ["chosen_attention_mask"]);
}

#[test]
fn mapped_columns_win_and_are_not_left_in_the_row() {
    let row = json!({"lw": -1, "ll": -2, "ref_chosen_logps": -8, "ref_rejected_logps": -9, "chosen": "a"});
    let (scores, left) = take(row, "ref_chosen_logps=lw,ref_rejected_logps=ll").unwrap();
    assert_eq!((scores.chosen, scores.rejected), (whole(-1.0), whole(-2.0)));
    assert_eq!(left, ["chosen"]);
    assert_eq!(take(json!({"lw": -1}), "ref_chosen_logps=lw,ref_rejected_logps=ll").unwrap_err(), "ll");
}

#[test]
fn log_probs_of_tokens_are_lists_beside_or_in_place_of_the_sum() {
    let row = json!({
        "ref_chosen_logps": -1.5, "ref_rejected_logps": -2,
        "ref_chosen_token_logps": [-0.5, -1], "ref_rejected_token_logps": [-2],
    });
    let (scores, left) = take(row, "").unwrap();
    assert_eq!(scores.chosen, CompletionLogps { whole: Some(-1.5), tokens: Some(vec![-0.5, -1.0]) });
    assert!(left.is_empty());
    let (scores, _) = take(json!({"ref_chosen_logps": [-0.5, -1], "ref_rejected_logps": [-2]}), "").unwrap();
    assert_eq!(scores.chosen, CompletionLogps { whole: None, tokens: Some(vec![-0.5, -1.0]) });
}

#[test]
fn each_wrong_value_is_named_with_its_place() {
    let logps = |chosen: Value| json!({"ref_chosen_logps": chosen, "ref_rejected_logps": -2});
    let ids = |chosen: Value| json!({"prompt_ids": [1], "chosen_ids": chosen, "rejected_ids": [2], "ref_chosen_logps": -1, "ref_rejected_logps": -2});
    let no_logp = "column `ref_chosen_logps`: expected a finite log-prob, at most 0, found";
    let no_ids = "column `chosen_ids`: expected a list of token ids, found";
    for (row, want) in [
        (logps(json!(0.25)), format!("{no_logp} 0.25")),
        (logps(json!(null)), format!("{no_logp} none (null, NaN or infinite)")),
        (logps(json!("-1.5")), format!("{no_logp} a string")),
        (logps(json!([-1, 2])), format!("{no_logp} 2")),
        (ids(json!([1, -1])), format!("{no_ids} -1 in it")),
        (ids(json!([1, 4_294_967_296_u64])), format!("{no_ids} 4294967296 in it")),
        (ids(json!([1, 2.5])), format!("{no_ids} 2.5 in it")),
        (ids(json!("1 2")), format!("{no_ids} a string")),
        (ids(json!(null)), format!("{no_ids} none (null, NaN or infinite)")),
    ] {
        assert_eq!(take(row, "").unwrap_err(), format!("`pairs.parquet`, row 7, {want}"));
    }
}

#[test]
fn a_map_has_roles_of_both_kinds() {
    let map: ImportMap = "prompt=q, ref_chosen_logps=lw, ref_rejected_logps = ll".parse().unwrap();
    assert_eq!(map.text, "prompt=q".parse().unwrap());
    assert_eq!((map.logps, map.ids), (Some(owned(["lw", "ll"])), None));
    for (text, want) in [
        (
            "ref_chosen_logp=a",
            "unknown role `ref_chosen_logp`: expected one of prompt, chosen, rejected, system, ignore, \
            ref_chosen_logps, ref_rejected_logps, prompt_ids, chosen_ids, rejected_ids, prompt_attention_mask, \
            chosen_attention_mask, rejected_attention_mask, chosen_labels, rejected_labels",
        ),
        (
            "ref_chosen_logps=a",
            "role `ref_chosen_logps` is mapped alone: expected ref_chosen_logps, ref_rejected_logps together",
        ),
        (
            "chosen_ids=a,prompt_ids=b",
            "role `prompt_ids` is mapped alone: expected prompt_ids, chosen_ids, rejected_ids together",
        ),
        ("ref_chosen_logps=a,ref_chosen_logps=b", "role `ref_chosen_logps` is mapped twice"),
        ("ref_chosen_logps=", "expected `role=column`, found `ref_chosen_logps=`"),
        ("prompt", "expected `role=column`, found `prompt`"),
    ] {
        assert_eq!(text.parse::<ImportMap>().unwrap_err().to_string(), want, "{text}");
    }
    let hint = "ref_chosen_logp=a".parse::<ImportMap>().unwrap_err().hint();
    assert_eq!(hint.as_deref(), Some("did you mean `ref_chosen_logps`?"));
}
