package command

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"stint"
)

// environ returns the attempt's environment followed by what the program is
// told of the operation: in Stint's names, and in Hadoop's of both generations.
func environ(a *stint.Attempt) []string {
	env := make([]string, len(a.Environ), len(a.Environ)+27)
	copy(env, a.Environ)
	env = append(
		env,
		"STINT_EXECUTION="+string(a.Execution),
		"STINT_STAGE="+a.Stage,
		"STINT_OPERATION="+string(a.Operation),
		"STINT_ATTEMPT="+strconv.Itoa(a.Number),
	)
	if a.Checkpoint != "" {
		env = append(env, "STINT_CHECKPOINT_DIR="+a.Checkpoint)
	}
	if asHadoop(a) {
		env = propertyNames(env, a)
	}
	if a.First {
		env = inputNames(env, a.Input)
	}
	return hadoopNames(env, a)
}

func inputNames(env []string, p stint.Piece) []string {
	offset, length := strconv.FormatInt(p.Offset, 10), strconv.FormatInt(p.Length, 10)
	return append(
		env,
		"STINT_INPUT="+p.Object.URL,
		"STINT_INPUT_OFFSET="+offset,
		"STINT_INPUT_LENGTH="+length,
		"mapreduce_map_input_file="+p.Object.URL,
		"mapreduce_map_input_start="+offset,
		"mapreduce_map_input_length="+length,
		"map_input_file="+p.Object.URL,
		"map_input_start="+offset,
		"map_input_length="+length,
	)
}

func hadoopNames(env []string, a *stint.Attempt) []string {
	kind, number, reduces := "r", a.Partition, a.Operations
	if a.First {
		kind, number, reduces = "m", a.Op, a.Partitions
		if a.Last {
			reduces = 0
		}
	}
	job := strings.TrimPrefix(string(a.Execution), "x-") + "_0001"
	task := fmt.Sprintf("%s_%s_%06d", job, kind, number)
	attempt := task + "_" + strconv.Itoa(a.Number-1)
	partition := strconv.FormatUint(uint64(number), 10)
	count := strconv.FormatUint(uint64(reduces), 10)
	isMap := strconv.FormatBool(a.First)
	return append(
		env,
		"mapreduce_job_id=job_"+job, "mapred_job_id=job_"+job,
		"mapreduce_task_id=task_"+task, "mapred_tip_id=task_"+task,
		"mapreduce_task_attempt_id=attempt_"+attempt, "mapred_task_id=attempt_"+attempt,
		"mapreduce_task_partition="+partition, "mapred_task_partition="+partition,
		"mapreduce_task_ismap="+isMap, "mapred_task_is_map="+isMap,
		"mapreduce_job_reduces="+count, "mapred_reduce_tasks="+count,
	)
}

// lookupEnv returns the last value of a name, which is the one that counts.
func lookupEnv(env []string, name string) string {
	for _, e := range slices.Backward(env) {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			return v
		}
	}
	return ""
}
