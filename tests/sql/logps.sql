-- The first token of each answer, which the pair decides with.
SELECT pair_id, side, token_id, logp FROM logps WHERE position = 0 AND pair_id IN ('p0', 'p2') ORDER BY pair_id, side;
--= pair_id,side,token_id,logp
--= p0,chosen,10,-1.0
--= p0,rejected,11,-4.0
--= p2,chosen,20,-0.5
--= p2,rejected,24,-2.0

-- Terms make their sum: no sequence differs from its column.
SELECT count(*) AS n, max(abs(l.s - p.ref_chosen_logps)) AS drift
FROM (SELECT source, row_idx, sum(logp) AS s FROM logps WHERE side = 'chosen' GROUP BY source, row_idx) AS l
JOIN pairs AS p ON l.source = p.source AND l.row_idx = p.row_idx;
--= n,drift
--= 4,0.0

-- Tokens the reference finds surprising, by id.
SELECT token_id, count(*) AS n FROM logps WHERE logp < -2 GROUP BY token_id ORDER BY token_id;
--= token_id,n
--= 11,2
--= 30,2

-- What the loss is where the policy has doubled the reference's margin.
SELECT pair_id, reward(0.5, 0, ref_margin) AS r, round(dpo_loss(0.5, 2 * ref_margin, 0, ref_margin, 0), 6) AS loss
FROM scored WHERE pair_id IN ('p0', 'p3') ORDER BY pair_id;
--= pair_id,r,loss
--= p0,-1.5,0.201413
--= p3,0.0,0.693147
