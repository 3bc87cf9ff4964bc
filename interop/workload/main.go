// Command workload is a workload that uses go-spiffe, a library that is not ours: what it refuses, Plastron's Workload API gave wrongly.
//
// It takes its identity from the socket that SPIFFE_ENDPOINT_SOCKET names, prints one line for each thing that it sees, and ends by
// itself: with status 0 where everything held, else with a line on standard error.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `workload identity                    the SPIFFE ID, once SVID and bundle have come
workload rotation DURATION           mutual TLS with itself all the time; prints each authority that comes and goes
workload serve ID                    accepts mutual TLS from ID, until it is terminated, or for five minutes
workload call ADDRESS ID             mutual TLS to ID at ADDRESS
workload peer FOLDER NAME OTHER ID   meets ID again and again, until it is terminated
workload jwt AUDIENCE DURATION       fetches and validates a JWT-SVID all the time; prints each authority that comes and goes
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	verb := ""
	if len(arguments) > 0 {
		verb = arguments[0]
	}
	switch {
	case verb == "identity" && len(arguments) == 1:
		return identity(ctx)
	case verb == "rotation" && len(arguments) == 2:
		return rotation(ctx, arguments[1])
	case verb == "serve" && len(arguments) == 2:
		return serve(ctx, arguments[1])
	case verb == "call" && len(arguments) == 3:
		return call(ctx, arguments[1], arguments[2])
	case verb == "peer" && len(arguments) == 5:
		return meet(ctx, arguments[1], arguments[2], arguments[3], arguments[4])
	case verb == "jwt" && len(arguments) == 3:
		return jwt(ctx, arguments[1], arguments[2])
	}
	return fmt.Errorf("one of:\n%s", usage)
}
