package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// jwt fetches a JWT-SVID again and again and validates it twice: with the bundle that the Workload API pushed, and by asking the
// Workload API. A token that is signed by a key before the bundle has it fails here. Another audience has to be refused both times.
func jwt(ctx context.Context, audience, length string) error {
	duration, err := time.ParseDuration(length)
	if err != nil {
		return err
	}
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	starting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	source, err := workloadapi.NewJWTSource(starting, workloadapi.WithClient(client))
	if err != nil {
		return fmt.Errorf("no JWTSource: %w", err)
	}
	defer source.Close()
	known, tokens, signers := newAuthorities("jwt"), map[string]bool{}, map[string]bool{}
	rounds := 0
	for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(pause) {
		svid, err := source.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, ExtraAudiences: []string{"another-of-ours"}})
		if err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		bundle, err := source.GetJWTBundleForTrustDomain(svid.ID.TrustDomain())
		if err != nil {
			return err
		}
		var names []string
		for name := range bundle.JWTAuthorities() {
			names = append(names, name)
		}
		known.update(names)
		tokens[svid.Marshal()] = true
		if err := validate(ctx, client, source, svid, audience); err != nil {
			return fmt.Errorf("round %d: %w", rounds+1, err)
		}
		if signer, err := keyID(svid.Marshal()); err != nil {
			return err
		} else if !signers[signer] {
			signers[signer] = true
			fmt.Println("jwt signed by", signer)
		}
		rounds++
	}
	fmt.Printf("jwt done: %d rounds, %d tokens, %d signers, %d authorities\n", rounds, len(tokens), len(signers), len(known.seen))
	return nil
}

func validate(ctx context.Context, client *workloadapi.Client, source *workloadapi.JWTSource, fetched *jwtsvid.SVID, audience string) error {
	token := fetched.Marshal()
	offline, err := jwtsvid.ParseAndValidate(token, source, []string{audience})
	if err != nil {
		return fmt.Errorf("offline: %w", err)
	}
	online, err := client.ValidateJWTSVID(ctx, token, audience)
	if err != nil {
		return fmt.Errorf("by the Workload API: %w", err)
	}
	if offline.ID != fetched.ID || online.ID != fetched.ID {
		return fmt.Errorf("the SVID of %s validates as %s and %s", fetched.ID, offline.ID, online.ID)
	}
	const wrong = "nobody-asked-for-this"
	if _, err := jwtsvid.ParseAndValidate(token, source, []string{wrong}); err == nil {
		return errors.New("another audience validates offline")
	}
	if _, err := client.ValidateJWTSVID(ctx, token, wrong); err == nil {
		return errors.New("another audience validates by the Workload API")
	}
	return nil
}
