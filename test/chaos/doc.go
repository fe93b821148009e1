// Package chaos drives the real binary while processes, disks, hosts and storage
// fail under it: the second ring of the tests, after the simulation and the shells.
// It holds tests alone.
//
// # How a test goes
//
// A test has a [site]: a folder of its own with a link to the binary, the data
// folder, the input, the programs and the output. The link makes every process of
// the site known by its arguments or its working directory, whoever has started it,
// so a test can find them in /proc, kill or stop them, and prove at the end that
// none is left.
//
// What was performed is counted by the programs, not by our records: each appends a
// line to a file outside the data folder when it begins, with the execution, the
// operation and the attempt (a ledger). The other side is what the service has
// acknowledged: an operation that was shown as completed, a submission that was
// answered, a status that is final. The checks compare the two:
//
//	output      byte for byte that of a reference without Stint
//	again       no operation that was shown as completed is performed once more,
//	            unless the test has taken away what it made
//	known       every acknowledged submission is there, one execution for each key
//	final       a final status stays as it is
//	left over   no process, no staged part, no saved object after the end
//
// Nothing waits for a span of time: a test polls for what must come to be, with a
// bound that a busy machine does not reach. What is drawn at random comes from a
// seed that is printed first and can be given by -seed; it decides what is done, not
// how the machine's scheduler answers it.
//
// # Files
//
//	harness_test.go   sites, commands, processes, waiting
//	ledger_test.go    what programs say of themselves, and what was acknowledged
//	hosts_test.go     hosts with networks of their own, and what cuts them off; hostsservice_test.go
//	                  is a service over them, hostsfaults_test.go what happens to it
//	storageproxy_test.go
//	                  storage that fails; storageproxyruns_test.go is what happens then
//	skips_test.go     what tests need of a machine, and which may be skipped without it
//	kill_load_test.go executions that are always in progress, and what is promised of them
//	kill_test.go      kill cycles: any process, at any time, again and again
//	disk_test.go      disks and inode tables that are full for a while
//	failpoints_test.go, failpoint_scenes_test.go
//	                  a process dies at every durable step, each in a scene that takes it
//	syscalls_test.go  a sync of the server's record fails
//	alike_test.go     the same program under other circumstances, one digest
package chaos
