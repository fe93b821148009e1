// Stint is the one binary: the service, its node managers, their workers and
// the command line. Each subcommand is a file; what several share:
//
//	main.go      the root command, flags of every command, exit codes
//	folder.go    the data folder: what lies where, and who holds it
//	service.go   finding a service, or starting one for a command's own time
//	request.go   flags of run → the request
//	watch.go     following an execution to its end
//	progress.go  what a terminal, a pipe and a program are shown meanwhile
//	children.go  what commands share that "stint up" starts as children
package main
