package plan_test

import (
	"testing"

	"stint"
	"stint/internal/plan"
)

func TestEveryProgramTypeHasATemplate(t *testing.T) {
	t.Parallel()
	for _, kind := range []stint.ProgramType{
		stint.TextSearch, stint.LogAnalysis, stint.Indexing, stint.Conversion, stint.Sorting, stint.Simulation, stint.SQL, stint.Learning, stint.Custom,
	} {
		tpl := plan.TemplateOf(kind)
		if tpl.Type != kind || tpl.SubsetSize < 1<<20 || tpl.Attempts < 1 || tpl.Memory < 0 || tpl.Description == "" {
			t.Errorf("%s: %+v", kind, tpl)
		}
	}
	for _, kind := range []stint.ProgramType{"", "baking"} {
		if tpl := plan.TemplateOf(kind); tpl.Type != stint.Custom {
			t.Errorf("%q: %+v", kind, tpl)
		}
	}
}

func TestSubsetsAreAsTheTemplateSays(t *testing.T) {
	t.Parallel()
	large := stint.Listing{Objects: []stint.Object{{URL: "file:///large", Size: 100 << 30}}}
	small := stint.Listing{Objects: []stint.Object{{URL: "file:///small", Size: 20 << 20}}}
	for kind, want := range map[stint.ProgramType]int64{stint.Sorting: 32 << 20, stint.Learning: 128 << 20, "": 64 << 20} {
		req := stint.Request{Program: stint.Program{Type: kind}}
		c, err := plan.Choose(req, large)
		if err != nil || c.SubsetSize != want || c.Exact {
			t.Errorf("%q: %+v, %v, want %d", kind, c, err, want)
		}
		if c, err := plan.Choose(req, small); err != nil || c.SubsetSize != 1<<20 {
			t.Errorf("%q over a small input: %+v, %v", kind, c, err)
		}
		req.SubsetSize = 12345
		if c, err := plan.Choose(req, large); err != nil || c.SubsetSize != 12345 || !c.Exact {
			t.Errorf("%q with a given size: %+v, %v", kind, c, err)
		}
	}
}

func TestTheStageThatLeavesRangesIsAnotherForAnotherNumberOfPartitions(t *testing.T) {
	t.Parallel()
	native := stint.Action{Native: "identity"}
	req := stint.Request{Program: stint.Program{Name: "ranges", Stages: []stint.Stage{
		{Name: "sample", Action: native, Input: stint.Edge{Kind: stint.FromInput}},
		{Name: "keys", Action: native, Input: stint.Edge{Kind: stint.Gather, From: "sample"}},
		{Name: "map", Action: native, Input: stint.Edge{Kind: stint.FromInput}, Beside: []stint.Edge{{Kind: stint.Broadcast, From: "keys"}}},
		{Name: "reduce", Action: native, Input: stint.Edge{
			Kind: stint.Shuffle, From: "map", Partitioner: &stint.Partitioner{Kind: stint.RangePartition, From: "keys"},
		}},
	}}}
	listing := stint.Listing{Objects: []stint.Object{{URL: "file:///in", Size: 1000, Version: "1"}}}
	var samples, keys []stint.Digest
	for _, partitions := range []int{4, 5} {
		p, err := plan.Make("x-1", req, listing, plan.Choice{SubsetSize: 100, Partitions: partitions})
		if err != nil {
			t.Fatal(err)
		}
		samples, keys = append(samples, p.Identity(0, 0)), append(keys, p.Identity(1, 0))
	}
	if samples[0] != samples[1] {
		t.Error("the sample depends on the partitions")
	}
	if keys[0] == keys[1] {
		t.Error("the keys that separate 4 partitions are taken for those that separate 5")
	}
}
