// Command player passes points as the environment says, and tells what came of it.
package main

import (
	"fmt"

	"stint/internal/failpoint"
)

func main() {
	for range 3 {
		failpoint.Reach("play.before-step")
		fmt.Println(failpoint.Error("play.before-sync"))
	}
}
