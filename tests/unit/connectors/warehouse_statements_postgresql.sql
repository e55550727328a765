BEGIN, then ROLLBACK;

CREATE TEMPORARY TABLE expunge_wanted ON COMMIT DROP AS SELECT CAST('' AS VARCHAR) AS ref, CAST('' AS VARCHAR) AS kind, CAST('' AS VARCHAR) AS exact, CAST('' AS VARCHAR) AS folded 
WHERE false;

WITH given AS MATERIALIZED 
(SELECT anon_1.ref AS ref, anon_1.kind AS kind, anon_1.exact AS exact 
FROM unnest(CAST(%(ref)s AS TEXT[]), CAST(%(kind)s AS TEXT[]), CAST(%(exact)s AS TEXT[])) AS anon_1(ref, kind, exact))
 INSERT INTO expunge_wanted (ref, kind, exact, folded) SELECT DISTINCT given.ref, given.kind, given.exact, lower(given.exact COLLATE pg_c_utf8) AS lower_1 
FROM given;

ANALYZE expunge_wanted;

CREATE TEMPORARY TABLE expunge_planned ON COMMIT DROP AS SELECT CAST('' AS VARCHAR) AS ref, CAST('' AS VARCHAR) AS place, CAST('' AS VARCHAR) AS name 
WHERE false;

WITH given AS MATERIALIZED 
(SELECT anon_1.ref AS ref, anon_1.place AS place, anon_1.name AS name 
FROM unnest(CAST(%(ref)s AS TEXT[]), CAST(%(place)s AS TEXT[]), CAST(%(name)s AS TEXT[])) AS anon_1(ref, place, name))
 INSERT INTO expunge_planned (ref, place, name) SELECT given.ref, given.place, given.name 
FROM given;

CREATE TEMPORARY TABLE expunge_hit_0 ON COMMIT DROP AS SELECT DISTINCT found.ref, found.a, found.b 
FROM (SELECT w.ref AS ref, t.tableoid AS a, t.ctid AS b 
FROM "customers" AS t JOIN expunge_wanted AS w ON w.kind = 'email' AND w.folded = lower(trim(CAST(t."email" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8) 
WHERE true UNION ALL SELECT w.ref AS ref, t.tableoid AS a, t.ctid AS b 
FROM "customers" AS t JOIN expunge_wanted AS w ON w.kind = 'customer_id' AND w.exact = trim(CAST(t."id" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) 
WHERE true) AS found;

CREATE TEMPORARY TABLE expunge_row_0 ON COMMIT DROP AS SELECT g.a AS expunge_a, g.b AS expunge_b, t."email", t."id" 
FROM "customers" AS t JOIN (SELECT DISTINCT expunge_hit_0.a AS a, expunge_hit_0.b AS b 
FROM expunge_hit_0) AS g ON t.tableoid = g.a AND t.ctid = g.b;

CREATE TEMPORARY TABLE expunge_hit_1 ON COMMIT DROP AS SELECT DISTINCT found.ref, found.a, found.b 
FROM (SELECT w.ref AS ref, t.tableoid AS a, t.ctid AS b 
FROM "shop"."orders" AS t JOIN expunge_wanted AS w ON w.kind = 'email' AND w.folded = lower(trim(CAST(t."contact" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8) 
WHERE true UNION ALL SELECT h.ref AS ref, t.tableoid AS a, t.ctid AS b 
FROM expunge_hit_0 AS h JOIN expunge_row_0 AS p ON p.expunge_a = h.a AND p.expunge_b = h.b JOIN "shop"."orders" AS t ON t."customer_id" = p."id" 
WHERE true) AS found;

CREATE TEMPORARY TABLE expunge_row_1 ON COMMIT DROP AS SELECT g.a AS expunge_a, g.b AS expunge_b, t."contact", t."id", t."part", t."customer_id" 
FROM "shop"."orders" AS t JOIN (SELECT DISTINCT expunge_hit_1.a AS a, expunge_hit_1.b AS b 
FROM expunge_hit_1) AS g ON t.tableoid = g.a AND t.ctid = g.b;

CREATE TEMPORARY TABLE expunge_hit_2 ON COMMIT DROP AS SELECT DISTINCT found.ref, found.a, found.b 
FROM (SELECT w.ref AS ref, t.tableoid AS a, t.ctid AS b 
FROM "notes" AS t JOIN expunge_wanted AS w ON w.kind = 'customer_id' AND w.exact = trim(CAST(t."customer" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) 
WHERE t."customer" IS NOT NULL OR t."text" IS NOT NULL UNION ALL SELECT h.ref AS ref, t.tableoid AS a, t.ctid AS b 
FROM expunge_hit_0 AS h JOIN expunge_row_0 AS p ON p.expunge_a = h.a AND p.expunge_b = h.b JOIN "notes" AS t ON CAST(t."customer" AS VARCHAR) = CAST(p."id" AS VARCHAR) 
WHERE t."customer" IS NOT NULL OR t."text" IS NOT NULL) AS found;

CREATE TEMPORARY TABLE expunge_row_2 ON COMMIT DROP AS SELECT g.a AS expunge_a, g.b AS expunge_b, t."customer", t."n" 
FROM "notes" AS t JOIN (SELECT DISTINCT expunge_hit_2.a AS a, expunge_hit_2.b AS b 
FROM expunge_hit_2) AS g ON t.tableoid = g.a AND t.ctid = g.b;

CREATE TEMPORARY TABLE expunge_unclear_0 ON COMMIT DROP AS SELECT DISTINCT u.ref, u.a, u.b 
FROM (SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_0 AS h JOIN expunge_row_0 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b 
WHERE trim(CAST(t."email" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) != '' AND NOT (EXISTS (SELECT 1 
FROM expunge_wanted AS w 
WHERE w.kind = 'email' AND w.folded = lower(trim(CAST(t."email" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8) AND w.ref = h.ref)) UNION ALL SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_0 AS h JOIN expunge_row_0 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b 
WHERE trim(CAST(t."id" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) != '' AND NOT (EXISTS (SELECT 1 
FROM expunge_wanted AS w 
WHERE w.kind = 'customer_id' AND w.exact = trim(CAST(t."id" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) AND w.ref = h.ref))) AS u 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_planned AS f JOIN expunge_row_0 AS t ON t.expunge_a = u.a AND t.expunge_b = u.b 
WHERE f.place = '0' AND f.name = CAST(t."id" AS VARCHAR) AND f.ref = u.ref));

CREATE TEMPORARY TABLE expunge_unclear_1 ON COMMIT DROP AS SELECT DISTINCT u.ref, u.a, u.b 
FROM (SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_1 AS h JOIN expunge_row_1 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b 
WHERE trim(CAST(t."contact" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) != '' AND NOT (EXISTS (SELECT 1 
FROM expunge_wanted AS w 
WHERE w.kind = 'email' AND w.folded = lower(trim(CAST(t."contact" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8) AND w.ref = h.ref)) UNION ALL SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_1 AS h JOIN expunge_row_1 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b JOIN "customers" AS p ON t."customer_id" = p."id" 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_hit_0 AS o 
WHERE p.tableoid = o.a AND p.ctid = o.b AND o.ref = h.ref))) AS u 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_planned AS f JOIN expunge_row_1 AS t ON t.expunge_a = u.a AND t.expunge_b = u.b 
WHERE f.place = '1' AND f.name = (replace(replace(CAST(t."id" AS VARCHAR), '\', '\\'), ',', '\,') || ',' || replace(replace(CAST(t."part" AS VARCHAR), '\', '\\'), ',', '\,')) AND f.ref = u.ref));

CREATE TEMPORARY TABLE expunge_unclear_2 ON COMMIT DROP AS SELECT DISTINCT u.ref, u.a, u.b 
FROM (SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_2 AS h JOIN expunge_row_2 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b 
WHERE trim(CAST(t."customer" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) != '' AND NOT (EXISTS (SELECT 1 
FROM expunge_wanted AS w 
WHERE w.kind = 'customer_id' AND w.exact = trim(CAST(t."customer" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) AND w.ref = h.ref)) UNION ALL SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_2 AS h JOIN expunge_row_2 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b JOIN "customers" AS p ON CAST(t."customer" AS VARCHAR) = CAST(p."id" AS VARCHAR) 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_hit_0 AS o 
WHERE p.tableoid = o.a AND p.ctid = o.b AND o.ref = h.ref))) AS u 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_planned AS f JOIN expunge_row_2 AS t ON t.expunge_a = u.a AND t.expunge_b = u.b 
WHERE f.place = '2' AND f.name = CAST(t."n" AS VARCHAR) AND f.ref = u.ref));

SELECT expunge_hit_0.ref, count(*) AS count_1 
FROM expunge_hit_0 GROUP BY expunge_hit_0.ref ORDER BY expunge_hit_0.ref;

SELECT expunge_hit_1.ref, count(*) AS count_1 
FROM expunge_hit_1 GROUP BY expunge_hit_1.ref ORDER BY expunge_hit_1.ref;

SELECT expunge_hit_2.ref, count(*) AS count_1 
FROM expunge_hit_2 GROUP BY expunge_hit_2.ref ORDER BY expunge_hit_2.ref;

SELECT expunge_unclear_0.ref, count(*) AS count_1 
FROM expunge_unclear_0 GROUP BY expunge_unclear_0.ref ORDER BY expunge_unclear_0.ref;

SELECT expunge_unclear_1.ref, count(*) AS count_1 
FROM expunge_unclear_1 GROUP BY expunge_unclear_1.ref ORDER BY expunge_unclear_1.ref;

SELECT expunge_unclear_2.ref, count(*) AS count_1 
FROM expunge_unclear_2 GROUP BY expunge_unclear_2.ref ORDER BY expunge_unclear_2.ref;

SELECT listed.ref, listed.key, listed.c0, listed.c1, listed.n 
FROM (SELECT h.ref AS ref, CAST(t."id" AS VARCHAR) AS key, CAST(t."email" AS VARCHAR) AS c0, CAST(t."id" AS VARCHAR) AS c1, row_number() OVER (PARTITION BY h.ref ORDER BY CAST(t."id" AS VARCHAR)) AS n 
FROM expunge_hit_0 AS h JOIN expunge_row_0 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b) AS listed 
WHERE listed.n <= %(param_1)s::BIGINT ORDER BY listed.ref, listed.n;

SELECT listed.ref, listed.key, listed.c0, listed.n 
FROM (SELECT h.ref AS ref, replace(replace(CAST(t."id" AS VARCHAR), '\', '\\'), ',', '\,') || ',' || replace(replace(CAST(t."part" AS VARCHAR), '\', '\\'), ',', '\,') AS key, CAST(t."contact" AS VARCHAR) AS c0, row_number() OVER (PARTITION BY h.ref ORDER BY replace(replace(CAST(t."id" AS VARCHAR), '\', '\\'), ',', '\,') || ',' || replace(replace(CAST(t."part" AS VARCHAR), '\', '\\'), ',', '\,')) AS n 
FROM expunge_hit_1 AS h JOIN expunge_row_1 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b) AS listed 
WHERE listed.n <= %(param_1)s::BIGINT ORDER BY listed.ref, listed.n;

SELECT listed.ref, listed.key, listed.c0, listed.n 
FROM (SELECT h.ref AS ref, CAST(t."n" AS VARCHAR) AS key, CAST(t."customer" AS VARCHAR) AS c0, row_number() OVER (PARTITION BY h.ref ORDER BY CAST(t."n" AS VARCHAR)) AS n 
FROM expunge_hit_2 AS h JOIN expunge_row_2 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b) AS listed 
WHERE listed.n <= %(param_1)s::BIGINT ORDER BY listed.ref, listed.n;

CREATE TEMPORARY TABLE expunge_edges ON COMMIT DROP AS SELECT DISTINCT found.ref, found.a, found.b 
FROM (SELECT w.ref AS ref, e.tableoid AS a, e.ctid AS b 
FROM "edges" AS e JOIN expunge_wanted AS w ON e."ka" = w.kind AND lower(trim(CAST(e."va" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8) = w.folded AND (w.kind = 'email' OR trim(CAST(e."va" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) = w.exact) UNION ALL SELECT w.ref AS ref, e.tableoid AS a, e.ctid AS b 
FROM "edges" AS e JOIN expunge_wanted AS w ON e."kb" = w.kind AND lower(trim(CAST(e."vb" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8) = w.folded AND (w.kind = 'email' OR trim(CAST(e."vb" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) = w.exact)) AS found;

SELECT expunge_edges.ref, count(*) AS count_1 
FROM expunge_edges GROUP BY expunge_edges.ref;

SELECT listed.ref, listed.key, listed.c0, listed.c1, listed.n 
FROM (SELECT h.ref AS ref, CAST(t."id" AS VARCHAR) AS key, CAST(t."email" AS VARCHAR) AS c0, CAST(t."id" AS VARCHAR) AS c1, row_number() OVER (PARTITION BY h.ref ORDER BY CAST(t."id" AS VARCHAR)) AS n 
FROM expunge_unclear_0 AS h JOIN expunge_row_0 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b) AS listed 
WHERE listed.n <= %(param_1)s::BIGINT ORDER BY listed.ref, listed.n;

SELECT listed.ref, listed.key, listed.c0, listed.n 
FROM (SELECT h.ref AS ref, replace(replace(CAST(t."id" AS VARCHAR), '\', '\\'), ',', '\,') || ',' || replace(replace(CAST(t."part" AS VARCHAR), '\', '\\'), ',', '\,') AS key, CAST(t."contact" AS VARCHAR) AS c0, row_number() OVER (PARTITION BY h.ref ORDER BY replace(replace(CAST(t."id" AS VARCHAR), '\', '\\'), ',', '\,') || ',' || replace(replace(CAST(t."part" AS VARCHAR), '\', '\\'), ',', '\,')) AS n 
FROM expunge_unclear_1 AS h JOIN expunge_row_1 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b) AS listed 
WHERE listed.n <= %(param_1)s::BIGINT ORDER BY listed.ref, listed.n;

SELECT listed.ref, listed.key, listed.c0, listed.n 
FROM (SELECT h.ref AS ref, CAST(t."n" AS VARCHAR) AS key, CAST(t."customer" AS VARCHAR) AS c0, row_number() OVER (PARTITION BY h.ref ORDER BY CAST(t."n" AS VARCHAR)) AS n 
FROM expunge_unclear_2 AS h JOIN expunge_row_2 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b) AS listed 
WHERE listed.n <= %(param_1)s::BIGINT ORDER BY listed.ref, listed.n;

SELECT DISTINCT h.ref, CAST(p0."email" AS VARCHAR) AS "email", CAST(p0."id" AS VARCHAR) AS "id" 
FROM expunge_unclear_1 AS h JOIN expunge_row_1 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b JOIN "customers" AS p0 ON t."customer_id" = p0."id" AND NOT (EXISTS (SELECT 1 
FROM expunge_hit_0 AS o 
WHERE p0.tableoid = o.a AND p0.ctid = o.b AND o.ref = h.ref));

SELECT DISTINCT h.ref, CAST(p0."email" AS VARCHAR) AS "email", CAST(p0."id" AS VARCHAR) AS "id" 
FROM expunge_unclear_2 AS h JOIN expunge_row_2 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b JOIN "customers" AS p0 ON CAST(t."customer" AS VARCHAR) = CAST(p0."id" AS VARCHAR) AND NOT (EXISTS (SELECT 1 
FROM expunge_hit_0 AS o 
WHERE p0.tableoid = o.a AND p0.ctid = o.b AND o.ref = h.ref));

BEGIN, then COMMIT;

CREATE TEMPORARY TABLE expunge_unclear_0 ON COMMIT DROP AS SELECT DISTINCT u.ref, u.a, u.b 
FROM (SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_0 AS h JOIN expunge_row_0 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b 
WHERE trim(CAST(t."email" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) != '' AND NOT (EXISTS (SELECT 1 
FROM expunge_wanted AS w 
WHERE w.kind = 'email' AND w.folded = lower(trim(CAST(t."email" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8))) UNION ALL SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_0 AS h JOIN expunge_row_0 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b 
WHERE trim(CAST(t."id" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) != '' AND NOT (EXISTS (SELECT 1 
FROM expunge_wanted AS w 
WHERE w.kind = 'customer_id' AND w.exact = trim(CAST(t."id" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160))))) AS u 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_planned AS f JOIN expunge_row_0 AS t ON t.expunge_a = u.a AND t.expunge_b = u.b 
WHERE f.place = '0' AND f.name = CAST(t."id" AS VARCHAR)));

CREATE TEMPORARY TABLE expunge_unclear_1 ON COMMIT DROP AS SELECT DISTINCT u.ref, u.a, u.b 
FROM (SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_1 AS h JOIN expunge_row_1 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b 
WHERE trim(CAST(t."contact" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) != '' AND NOT (EXISTS (SELECT 1 
FROM expunge_wanted AS w 
WHERE w.kind = 'email' AND w.folded = lower(trim(CAST(t."contact" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8))) UNION ALL SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_1 AS h JOIN expunge_row_1 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b JOIN "customers" AS p ON t."customer_id" = p."id" 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_hit_0 AS o 
WHERE p.tableoid = o.a AND p.ctid = o.b))) AS u 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_planned AS f JOIN expunge_row_1 AS t ON t.expunge_a = u.a AND t.expunge_b = u.b 
WHERE f.place = '1' AND f.name = (replace(replace(CAST(t."id" AS VARCHAR), '\', '\\'), ',', '\,') || ',' || replace(replace(CAST(t."part" AS VARCHAR), '\', '\\'), ',', '\,'))));

CREATE TEMPORARY TABLE expunge_unclear_2 ON COMMIT DROP AS SELECT DISTINCT u.ref, u.a, u.b 
FROM (SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_2 AS h JOIN expunge_row_2 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b 
WHERE trim(CAST(t."customer" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) != '' AND NOT (EXISTS (SELECT 1 
FROM expunge_wanted AS w 
WHERE w.kind = 'customer_id' AND w.exact = trim(CAST(t."customer" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)))) UNION ALL SELECT h.ref AS ref, h.a AS a, h.b AS b 
FROM expunge_hit_2 AS h JOIN expunge_row_2 AS t ON t.expunge_a = h.a AND t.expunge_b = h.b JOIN "customers" AS p ON CAST(t."customer" AS VARCHAR) = CAST(p."id" AS VARCHAR) 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_hit_0 AS o 
WHERE p.tableoid = o.a AND p.ctid = o.b))) AS u 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_planned AS f JOIN expunge_row_2 AS t ON t.expunge_a = u.a AND t.expunge_b = u.b 
WHERE f.place = '2' AND f.name = CAST(t."n" AS VARCHAR)));

CREATE TEMPORARY TABLE expunge_clear_0 ON COMMIT DROP AS SELECT h.ref, h.a, h.b 
FROM expunge_hit_0 AS h 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_unclear_0 AS u 
WHERE u.a = h.a AND u.b = h.b));

CREATE TEMPORARY TABLE expunge_clear_1 ON COMMIT DROP AS SELECT h.ref, h.a, h.b 
FROM expunge_hit_1 AS h 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_unclear_1 AS u 
WHERE u.a = h.a AND u.b = h.b)) AND NOT (EXISTS (SELECT 1 
FROM expunge_row_1 AS t JOIN expunge_row_0 AS p ON t."customer_id" = p."id" LEFT OUTER JOIN expunge_clear_0 AS c ON p.expunge_a = c.a AND p.expunge_b = c.b 
WHERE t.expunge_a = h.a AND t.expunge_b = h.b AND c.ref IS NULL));

CREATE TEMPORARY TABLE expunge_clear_2 ON COMMIT DROP AS SELECT h.ref, h.a, h.b 
FROM expunge_hit_2 AS h 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_unclear_2 AS u 
WHERE u.a = h.a AND u.b = h.b)) AND NOT (EXISTS (SELECT 1 
FROM expunge_row_2 AS t JOIN expunge_row_0 AS p ON CAST(t."customer" AS VARCHAR) = CAST(p."id" AS VARCHAR) LEFT OUTER JOIN expunge_clear_0 AS c ON p.expunge_a = c.a AND p.expunge_b = c.b 
WHERE t.expunge_a = h.a AND t.expunge_b = h.b AND c.ref IS NULL));

CREATE TEMPORARY TABLE expunge_going_2 ON COMMIT DROP AS SELECT c.ref, c.a, c.b 
FROM expunge_clear_2 AS c;

CREATE TEMPORARY TABLE expunge_going_1 ON COMMIT DROP AS SELECT c.ref, c.a, c.b 
FROM expunge_clear_1 AS c;

CREATE TEMPORARY TABLE expunge_going_0 ON COMMIT DROP AS SELECT c.ref, c.a, c.b 
FROM expunge_clear_0 AS c 
WHERE NOT (EXISTS (SELECT 1 
FROM expunge_row_0 AS p JOIN expunge_row_1 AS t ON t."customer_id" = p."id" LEFT OUTER JOIN expunge_going_1 AS g ON t.expunge_a = g.a AND t.expunge_b = g.b 
WHERE p.expunge_a = c.a AND p.expunge_b = c.b AND g.ref IS NULL)) AND NOT (EXISTS (SELECT 1 
FROM expunge_row_0 AS p JOIN expunge_row_2 AS t ON CAST(t."customer" AS VARCHAR) = CAST(p."id" AS VARCHAR) LEFT OUTER JOIN expunge_going_2 AS g ON t.expunge_a = g.a AND t.expunge_b = g.b 
WHERE p.expunge_a = c.a AND p.expunge_b = c.b AND g.ref IS NULL));

SELECT expunge_going_2.ref, count(*) AS count_1 
FROM expunge_going_2 GROUP BY expunge_going_2.ref ORDER BY expunge_going_2.ref;

SELECT expunge_going_1.ref, count(*) AS count_1 
FROM expunge_going_1 GROUP BY expunge_going_1.ref ORDER BY expunge_going_1.ref;

SELECT expunge_going_0.ref, count(*) AS count_1 
FROM expunge_going_0 GROUP BY expunge_going_0.ref ORDER BY expunge_going_0.ref;

SELECT count(*) AS count_1 
FROM (SELECT DISTINCT expunge_going_2.a AS a, expunge_going_2.b AS b 
FROM expunge_going_2) AS g;

UPDATE "notes" AS t SET "customer"=NULL, "text"=NULL FROM (SELECT DISTINCT expunge_going_2.a AS a, expunge_going_2.b AS b 
FROM expunge_going_2) AS g WHERE t.tableoid = g.a AND t.ctid = g.b;

SELECT count(*) AS count_1 
FROM (SELECT DISTINCT expunge_going_1.a AS a, expunge_going_1.b AS b 
FROM expunge_going_1) AS g;

DELETE FROM "shop"."orders" AS t USING (SELECT DISTINCT expunge_going_1.a AS a, expunge_going_1.b AS b 
FROM expunge_going_1) AS g WHERE t.tableoid = g.a AND t.ctid = g.b;

SELECT count(*) AS count_1 
FROM (SELECT DISTINCT expunge_going_0.a AS a, expunge_going_0.b AS b 
FROM expunge_going_0) AS g;

DELETE FROM "customers" AS t USING (SELECT DISTINCT expunge_going_0.a AS a, expunge_going_0.b AS b 
FROM expunge_going_0) AS g WHERE t.tableoid = g.a AND t.ctid = g.b;

SELECT count(*) AS count_1 
FROM (SELECT DISTINCT expunge_edges.a AS a, expunge_edges.b AS b 
FROM expunge_edges) AS g;

DELETE FROM "edges" AS t USING (SELECT DISTINCT expunge_edges.a AS a, expunge_edges.b AS b 
FROM expunge_edges) AS g WHERE t.tableoid = g.a AND t.ctid = g.b;

WITH given AS MATERIALIZED 
(SELECT anon_1.n AS n, anon_1.kind AS kind, anon_1.exact AS exact 
FROM unnest(CAST(%(n)s AS TEXT[]), CAST(%(kind)s AS TEXT[]), CAST(%(exact)s AS TEXT[])) AS anon_1(n, kind, exact)), 
wanted AS MATERIALIZED 
(SELECT DISTINCT given.n AS n, given.kind AS kind, given.exact AS exact, lower(given.exact COLLATE pg_c_utf8) AS folded 
FROM given), 
touching AS MATERIALIZED 
(SELECT wanted.n AS n, wanted.kind AS own_kind, CAST(e."va" AS VARCHAR) AS own, trim(CAST(e."va" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) AS own_trimmed, CAST(e."kb" AS VARCHAR) AS kind, CAST(e."vb" AS VARCHAR) AS value, trim(CAST(e."vb" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) AS trimmed, CAST(e."src" AS VARCHAR) AS source, CAST(NULL AS FLOAT) AS confidence, CAST(NULL AS TIMESTAMP WITHOUT TIME ZONE) AS first_seen, CAST(NULL AS TIMESTAMP WITHOUT TIME ZONE) AS last_seen 
FROM "edges" AS e JOIN wanted ON e."ka" = wanted.kind AND lower(trim(CAST(e."va" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8) = wanted.folded AND (wanted.kind = %(param_3)s::VARCHAR OR trim(CAST(e."va" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) = wanted.exact) UNION ALL SELECT wanted.n AS n, wanted.kind AS own_kind, CAST(e."vb" AS VARCHAR) AS own, trim(CAST(e."vb" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) AS own_trimmed, CAST(e."ka" AS VARCHAR) AS kind, CAST(e."va" AS VARCHAR) AS value, trim(CAST(e."va" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) AS trimmed, CAST(e."src" AS VARCHAR) AS source, CAST(NULL AS FLOAT) AS confidence, CAST(NULL AS TIMESTAMP WITHOUT TIME ZONE) AS first_seen, CAST(NULL AS TIMESTAMP WITHOUT TIME ZONE) AS last_seen 
FROM "edges" AS e JOIN wanted ON e."kb" = wanted.kind AND lower(trim(CAST(e."vb" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) COLLATE pg_c_utf8) = wanted.folded AND (wanted.kind = %(param_4)s::VARCHAR OR trim(CAST(e."vb" AS VARCHAR), chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160)) = wanted.exact)), 
named AS 
(SELECT touching.n AS n, touching.own_kind AS own_kind, touching.own AS own, touching.own_trimmed AS own_trimmed, touching.kind AS kind, touching.value AS value, touching.trimmed AS trimmed, touching.source AS source, touching.confidence AS confidence, touching.first_seen AS first_seen, touching.last_seen AS last_seen, CASE WHEN (touching.kind = %(param_1)s::VARCHAR) THEN lower(touching.trimmed COLLATE pg_c_utf8) ELSE touching.trimmed END AS normal, coalesce(touching.kind, '') != '' AND coalesce(touching.trimmed, '') != '' AND NOT (touching.kind = touching.own_kind AND CASE WHEN (touching.kind = %(param_1)s::VARCHAR) THEN lower(touching.trimmed COLLATE pg_c_utf8) ELSE touching.trimmed END = CASE WHEN (touching.own_kind = %(param_2)s::VARCHAR) THEN lower(touching.own_trimmed COLLATE pg_c_utf8) ELSE touching.own_trimmed END) AS leads 
FROM touching), 
distinct_ones AS 
(SELECT DISTINCT named.n AS n, named.kind AS kind, named.normal AS normal 
FROM named 
WHERE named.leads), 
counted AS 
(SELECT distinct_ones.n AS n, count(*) AS degree 
FROM distinct_ones GROUP BY distinct_ones.n), 
answer AS 
(SELECT named.n AS n, coalesce(counted.degree, 0) AS degree, named.own AS own, named.leads AND counted.degree <= %(max_neighbours)s::INTEGER AS brought, named.kind AS kind, named.value AS value, named.source AS source, named.confidence AS confidence, named.first_seen AS first_seen, named.last_seen AS last_seen 
FROM named LEFT OUTER JOIN counted ON counted.n = named.n)
 SELECT DISTINCT answer.n, answer.degree, answer.own, CASE WHEN answer.brought THEN answer.kind END AS kind, CASE WHEN answer.brought THEN answer.value END AS value, CASE WHEN answer.brought THEN answer.source END AS source, CASE WHEN answer.brought THEN answer.confidence END AS confidence, CASE WHEN answer.brought THEN answer.first_seen END AS first_seen, CASE WHEN answer.brought THEN answer.last_seen END AS last_seen 
FROM answer;
