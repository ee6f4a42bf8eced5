-- How often the reference ranks a pair as the label does: by sums, and by averages.
SELECT avg((ref_chosen_logps > ref_rejected_logps)::int) AS by_sum,
       avg((ref_chosen_logps_mean > ref_rejected_logps_mean)::int) AS by_mean
FROM scored;
--= by_sum,by_mean
--= 0.25,0.5

-- Margins of the view, in nats.
SELECT pair_id, ref_margin, ref_margin_mean FROM scored ORDER BY pair_id;
--= pair_id,ref_margin,ref_margin_mean
--= p0,3.0,1.5
--= p1,-3.0,-1.5
--= p2,-0.5,0.75
--= p3,0.0,0.0

-- Length bias: share of pairs whose chosen answer is longer.
SELECT split, avg((chosen_tokens > rejected_tokens)::int) AS longer, min(prompt_chars) AS shortest
FROM scored GROUP BY split ORDER BY split;
--= split,longer,shortest
--= test,0.0,13
--= train,0.3333333333333333,14

-- Truncation on one side only.
SELECT pair_id, chosen_cut FROM pairs WHERE (chosen_cut > 0) <> (rejected_cut > 0);
--= pair_id,chosen_cut
--= p2,4

-- Contradictions: one prompt, answers swapped.
SELECT a.pair_id AS one, b.pair_id AS other
FROM pairs a JOIN pairs b ON a.prompt = b.prompt AND a.chosen = b.rejected AND a.rejected = b.chosen
WHERE a.row_idx < b.row_idx;
--= one,other
--= p0,p1

-- Pairs that teach nothing.
SELECT pair_id FROM pairs WHERE chosen_ids = rejected_ids;
--= pair_id
--= p3

-- Terms add up to the sums.
SELECT max(abs(s - ref_chosen_logps)) AS worst
FROM (SELECT pair_id, sum(t::double) AS s FROM (SELECT pair_id, unnest(ref_chosen_token_logps) AS t FROM pairs) GROUP BY pair_id) added
JOIN pairs USING (pair_id);
--= worst
--= 0.0

-- The least likely token of each chosen answer.
SELECT pair_id, min(t) AS worst_token
FROM (SELECT pair_id, unnest(ref_chosen_token_logps) AS t FROM pairs) GROUP BY pair_id ORDER BY worst_token, pair_id LIMIT 2;
--= pair_id,worst_token
--= p1,-4.0
--= p3,-3.0

-- Columns of the source stand beside ours: ties, and scores against the reference.
SELECT count(*) FILTER (WHERE score_chosen = score_rejected) AS ties,
       count(*) FILTER (WHERE score_chosen > score_rejected AND ref_margin < 0) AS against
FROM scored;
--= ties,against
--= 1,1

-- Every row of a source is a pair or a reject.
SELECT source, count(*) AS n FROM (SELECT source, row_idx FROM pairs UNION ALL SELECT source, row_idx FROM rejects)
GROUP BY source ORDER BY source;
--= source,n
--= test.jsonl,1
--= train.jsonl,4

-- No log-prob that is none; NaN would be greatest.
SELECT count(*) AS n FROM pairs WHERE isnan(ref_chosen_logps) OR ref_chosen_logps > 0;
--= n
--= 0

-- The exact median; approx_percentile_cont is another number on few rows.
SELECT median(ref_margin) AS median FROM scored;
--= median
--= -0.25

-- What the columns mean is in the file, their types in the catalogue.
SELECT column_name, is_nullable FROM information_schema.columns
WHERE table_name = 'pairs' AND column_name IN ('conversation', 'ref_chosen_logps') ORDER BY column_name;
--= column_name,is_nullable
--= conversation,YES
--= ref_chosen_logps,NO
