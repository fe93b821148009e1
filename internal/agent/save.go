package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"stint"
	"stint/internal/block"
	"stint/internal/failpoint"
	"stint/internal/object"
)

// save writes output that lies on this node into packs, under keys that begin
// with the errand's prefix. When it returns they are durable. Output that was
// taken over is found under the name that the errand's sources give it here. An
// errand may be done twice and find less the second time: no run writes over what
// another has reported.
func (s *site) save(ctx context.Context, e stint.Errand, result *stint.ErrandResult) error {
	if e.Prefix == "" {
		return stint.Errorf(stint.Invalid, "save output of %s: no prefix for the keys of packs", e.Execution)
	}
	storage, err := s.storages.open(ctx, e.Storage)
	if err != nil {
		return err
	}
	refOf := namesHere(s.hello.Node, e)
	run := strings.ToLower(rand.Text()[:8])
	for rest := e.Ops; len(rest) > 0; {
		packing := s.store.Pack(e.Stage, rest, block.PackSize, refOf)
		key := e.Prefix + "-" + run + "-" + strconv.Itoa(len(result.Packs))
		pack, lost, err := putPack(ctx, storage, key, packing)
		if err != nil {
			return err
		}
		if len(pack.Ops) > 0 {
			result.Packs = append(result.Packs, pack)
		}
		if err := s.condemn(lost, refOf); err != nil {
			return err
		}
		result.Lost = union(result.Lost, lost)
		_, _, rest = packing.Result()
	}
	return nil
}

// condemn keeps blocks that are not whole from being announced again.
func (s *site) condemn(ops []stint.Range, refOf func(op uint32) block.Ref) error {
	named := make(map[stint.ExecutionID][]stint.StageOps)
	for op := range each(ops) {
		ref := refOf(op)
		named[ref.Execution] = addToStage(named[ref.Execution], ref.Stage, stint.Range{From: ref.Op, To: ref.Op + 1})
	}
	for x, sets := range named {
		if err := s.store.Condemn(x, sets); err != nil {
			return err
		}
	}
	return nil
}

// putPack stores one pack. One that turns out to hold nothing is removed.
func putPack(ctx context.Context, storage *object.Storage, key string, packing *block.Packing) (stint.Pack, []stint.Range, error) {
	if err := storage.Put(ctx, key, packing); err != nil {
		return stint.Pack{}, nil, fmt.Errorf("save pack: %w", err)
	}
	failpoint.Reach("pack.after-storing")
	pack, lost, _ := packing.Result()
	pack.Key = key
	if len(pack.Ops) == 0 {
		return pack, lost, storage.Delete(ctx, key)
	}
	return pack, lost, nil
}

// namesHere returns under which name the output of an errand's operations lies on
// this node.
func namesHere(node stint.NodeID, e stint.Errand) func(op uint32) block.Ref {
	own := naming{execution: e.Execution, stage: e.Stage}
	return func(op uint32) block.Ref {
		for i := range e.Sources {
			if s := &e.Sources[i]; s.Origin != nil && s.Node == node && stint.RangesContain(s.Ops, op) {
				return namingOf(e.Execution, e.Stage, s).ref(op)
			}
		}
		return own.ref(op)
	}
}
