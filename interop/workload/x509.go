package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// How long the agent may take for anything that is waited for.
const patience = 30 * time.Second

// Between two rounds of what is done all the time.
const pause = 100 * time.Millisecond

func newSource(ctx context.Context) (*workloadapi.X509Source, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return nil, fmt.Errorf("no X509Source: %w", err)
	}
	return source, nil
}

func identity(ctx context.Context) error {
	if err := demandsTheHeader(ctx); err != nil {
		return err
	}
	source, err := newSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	svid, bundle, err := verified(source)
	if err != nil {
		return err
	}
	fmt.Println(svid.ID, len(bundle.X509Authorities()))
	return nil
}

// verified is the SVID, once its chain was verified against the bundle that came with it: by go-spiffe, at this moment.
func verified(source *workloadapi.X509Source) (*x509svid.SVID, *x509bundle.Bundle, error) {
	svid, err := source.GetX509SVID()
	if err != nil {
		return nil, nil, err
	}
	bundle, err := source.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
	if err != nil {
		return nil, nil, err
	}
	id, _, err := x509svid.Verify(svid.Certificates, bundle)
	if err != nil {
		return nil, nil, fmt.Errorf("the SVID with serial number %x does not verify: %w", svid.Certificates[0].SerialNumber, err)
	}
	if id != svid.ID {
		return nil, nil, fmt.Errorf("the SVID of %s verifies as %s", svid.ID, id)
	}
	return svid, bundle, nil
}

// rotation connects to itself over mutual TLS again and again. Both ends verify with what the Workload API gave last, so an SVID that is
// signed by an authority before the bundle has it fails here.
func rotation(ctx context.Context, length string) error {
	duration, err := time.ParseDuration(length)
	if err != nil {
		return err
	}
	source, err := newSource(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	known, serials, signers := newAuthorities("x509"), map[string]bool{}, map[string]bool{}
	handshakes := 0
	for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(pause) {
		svid, bundle, err := verified(source)
		if err != nil {
			return err
		}
		var names []string
		for _, authority := range bundle.X509Authorities() {
			names = append(names, hex.EncodeToString(authority.SubjectKeyId))
		}
		known.update(names)
		serials[svid.Certificates[0].SerialNumber.String()] = true
		if signer := hex.EncodeToString(svid.Certificates[0].AuthorityKeyId); !signers[signer] {
			signers[signer] = true
			fmt.Println("x509 signed by", signer)
		}
		authorizer := tlsconfig.AuthorizeID(svid.ID)
		err = shakeHands(ctx, tlsconfig.MTLSServerConfig(source, source, authorizer), tlsconfig.MTLSClientConfig(source, source, authorizer))
		if err != nil {
			return fmt.Errorf("handshake %d, signed by %x: %w", handshakes+1, svid.Certificates[0].AuthorityKeyId, err)
		}
		handshakes++
	}
	fmt.Printf("x509 done: %d handshakes, %d svids, %d signers, %d authorities\n", handshakes, len(serials), len(signers), len(known.seen))
	return nil
}
