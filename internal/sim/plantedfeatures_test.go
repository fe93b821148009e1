package sim

// plantedFeatures are bugs in what is done with errors, retries, reuse and changed
// input.
func plantedFeatures() []planted {
	const retry, errand, adopt, edges = "internal/coord/retry.go", "internal/coord/errand.go", "internal/coord/adopt.go", "internal/coord/edges.go"
	const reports, drop, sources, touched, same = "internal/coord/report.go", "internal/coord/drop.go", "internal/coord/sources.go", "internal/coord/touched.go", "internal/plan/same.go"
	return []planted{
		{"what nodes have left of before a retry counts", retry, "		s.nodes[i].outdated = true\n", "		s.nodes[i].outdated = false\n"},
		{"the result of a commit is not heard while more is saved", errand, "s.recorded != s.commitID() && ", ""},
		{"an end does not say what is to be taken back", errand, "Generation: s.generation, Stint: len(s.stints)}", "Generation: s.generation}"},
		{"a retry performs only what failed", retry, "			if s.redone(k, uint32(n)) {\n", "			if s.stages[k].ops[n].state == failed {\n"},
		{"a retry forgets what failed while the output was committed", retry, "	s.findRetries()", "	s.retries = nil"},
		{"a grant does not say what is to be done without", edges, "Missing: slices.Clone(s.stages[from].failed)}", "Missing: nil}"},
		{"a failed operation is waited for", reports, "	s.setState(key.stage, key.op, failed)\n	s.exceptions[key] = &exception{err: f.Error}\n	delete(s.checkpoints, key)\n	s.unblock(key.stage, key.op)\n", "	s.setState(key.stage, key.op, failed)\n	s.exceptions[key] = &exception{err: f.Error}\n	delete(s.checkpoints, key)\n"},
		{"one attempt more than was asked for", reports, "e.failed >= s.maxAttempts()", "e.failed > s.maxAttempts()"},
		{"the back-off is not waited for", reports, "	e.notBefore = now + wait\n", "	e.notBefore = now + wait/2\n"},
		{"too many bad records do not matter", reports, "	s.judgeRecords(d.Stage)\n", ""},
		{"records of a retry are those of the first performance", reports, "	st.countRecords(u.Op, records{u.RecordsIn, u.BadRecords}, first)\n", ""},
		{"causes of failures are not kept", reports, "		s.addCause(f)\n", ""},
		{"output is dropped that a retry would read", drop, "&& !s.retryReads(k) &&", "&&"},
		{"what did without others is reused", adopt, "	if len(all) == 0 || !s.deficient(k) {\n", "	if true {\n"},
		{"parts that were not staged are reused", adopt, "		default:\n			st.forget(n)\n", "		default:\n"},
		{"reused output is looked for under its own name", sources, "!o.renamed || o.node != i {", "true || !o.renamed || o.node != i {"},
		{"reused records that were left out do not count", adopt, "	a.state.derive()\n	a.takeRecords()\n", "	a.state.derive()\n"},
		{"input of another content is taken for touched", touched, "		t.equal[k] = false\n", "		t.equal[k] = true\n"},
		{"input of the same size is taken for unchanged", same, "was.Size == o.Size && content(was, o) {", "was.Size == o.Size {"},
		{"what was left before the input changed counts", adopt, "n.jobs, n.voided, n.outdated = nil, nil, true\n", "n.jobs, n.voided, n.outdated = nil, nil, false\n"},
		{"failures of operations that are gone are kept", adopt, "rebasedFailures(s.failures, r.stages)", "slices.Clone(s.failures)"},
	}
}
