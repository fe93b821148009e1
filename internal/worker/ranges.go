package worker

import "stint"

// rangesOf returns how many partitions the stage has whose output is partitioned
// by the keys that another leaves, 0 if there is none.
func rangesOf(spec *stint.Spec, keys string) uint32 {
	for i := range spec.Stages {
		if p := spec.Stages[i].Partitioner; p != nil && p.Kind == stint.RangePartition && p.From == keys {
			return spec.Stages[i].Partitions
		}
	}
	return 0
}
