package main

import (
	"io"

	"github.com/spf13/cobra"

	"stint"
	"stint/sdk/python"
)

func (a *app) programSDKCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sdk [python]",
		Short: "Print what a program in Python imports, or list the SDKs",
		Long: `Print the module that programs in Python import, to be put among their files:

  stint program sdk python > ` + python.FileName + `

Without a language, list the SDKs. docs/sdk.md says how programs are written with them.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listSDKs()
			}
			if args[0] != "python" {
				return stint.Errorf(stint.Invalid, "sdk %.80q: expected python; programs in Go import the package stint/program of a checkout", args[0])
			}
			_, err := io.WriteString(a.out, python.Module())
			return err
		},
	}
}

func (a *app) listSDKs() error {
	t := a.table("LANGUAGE", "IMPORT", "WHERE IT IS")
	t.row("go", "stint/program", "a checkout of Stint: go mod edit -replace stint=CHECKOUT")
	t.row("python", "stint", "stint program sdk python > "+python.FileName)
	return t.Flush()
}
