package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// demandsTheHeader makes every call without the header, which go-spiffe's client always sends. Each has to be refused, by these words:
// there are other reasons for that code.
func demandsTheHeader(ctx context.Context) error {
	connection, err := grpc.NewClient(os.Getenv("SPIFFE_ENDPOINT_SOCKET"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := workload.NewSpiffeWorkloadAPIClient(connection)
	calls := map[string]func() error{
		"FetchX509SVID": func() error {
			stream, err := client.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
			return first(stream, err)
		},
		"FetchX509Bundles": func() error {
			stream, err := client.FetchX509Bundles(ctx, &workload.X509BundlesRequest{})
			return first(stream, err)
		},
		"FetchJWTBundles": func() error {
			stream, err := client.FetchJWTBundles(ctx, &workload.JWTBundlesRequest{})
			return first(stream, err)
		},
		"FetchJWTSVID": func() error {
			_, err := client.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"x"}})
			return err
		},
		"ValidateJWTSVID": func() error {
			_, err := client.ValidateJWTSVID(ctx, &workload.ValidateJWTSVIDRequest{Audience: "x", Svid: "x"})
			return err
		},
	}
	for name, call := range calls {
		refusal := status.Convert(call())
		if refusal.Code() != codes.InvalidArgument || refusal.Message() != "security header missing from request" {
			return fmt.Errorf("%s without the header is answered %s: %s", name, refusal.Code(), refusal.Message())
		}
	}
	return nil
}

func first[M any](stream interface{ Recv() (M, error) }, err error) error {
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}
