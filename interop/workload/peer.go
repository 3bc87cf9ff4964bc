package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refused is the outcome of what go-spiffe or the agent does not accept, absent that of what the peer has not written yet.
const (
	refused = "refused"
	absent  = "none"
)

// peer is a workload that another of the same kind meets, of another trust domain perhaps: both write where they listen and a token for the
// other into one folder. Each round it connects to the other and validates the other's token, and prints the outcomes.
type peer struct {
	folder, name, other string
	id                  spiffeid.ID
	client              *workloadapi.Client
	x509                *workloadapi.X509Source
	jwt                 *workloadapi.JWTSource
	// Why something was refused last, by what it was.
	reasons map[string]string
}

func meet(ctx context.Context, folder, name, other, otherID string) error {
	id, err := spiffeid.FromString(otherID)
	if err != nil {
		return err
	}
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	x509, err := newSource(ctx)
	if err != nil {
		return err
	}
	defer x509.Close()
	starting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	jwt, err := workloadapi.NewJWTSource(starting, workloadapi.WithClient(client))
	if err != nil {
		return fmt.Errorf("no JWTSource: %w", err)
	}
	defer jwt.Close()
	p := &peer{folder: folder, name: name, other: other, id: id, client: client, x509: x509, jwt: jwt, reasons: map[string]string{}}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(x509, x509, tlsconfig.AuthorizeID(id)))
	if err != nil {
		return err
	}
	defer listener.Close()
	go answer(listener)
	if err := p.write(".address", listener.Addr().String()); err != nil {
		return err
	}
	for ; ctx.Err() == nil; time.Sleep(pause) {
		if err := p.round(ctx); err != nil {
			return err
		}
	}
	return nil
}

func answer(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			// What fails here fails at the other end too, which tells.
			_ = echo(connection)
		}()
	}
}

func (p *peer) round(ctx context.Context) error {
	own, err := p.jwt.FetchJWTSVID(ctx, jwtsvid.Params{Audience: p.id.String()})
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if err := p.write(".jwt", own.Marshal()); err != nil {
		return err
	}
	roots, keys := 0, 0
	if bundle, err := p.x509.GetX509BundleForTrustDomain(p.id.TrustDomain()); err == nil {
		roots = len(bundle.X509Authorities())
	}
	if bundle, err := p.jwt.GetJWTBundleForTrustDomain(p.id.TrustDomain()); err == nil {
		keys = len(bundle.JWTAuthorities())
	}
	handshake, err := p.handshake(ctx)
	if err != nil {
		return err
	}
	offline, online, err := p.validate(ctx, own.ID.String())
	if err != nil {
		return err
	}
	fmt.Printf("round handshake=%s offline=%s online=%s roots=%d keys=%d\n", handshake, offline, online, roots, keys)
	return nil
}

// handshake connects to the other, and is the serial number of its certificate if each end accepts the other.
func (p *peer) handshake(ctx context.Context) (string, error) {
	address, err := p.read(".address")
	if err != nil || address == "" {
		return absent, err
	}
	var dialer net.Dialer
	plain, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	// go-spiffe's sources take their bundles from the stream of SVIDs, so the client trusts what the call for bundles says.
	bundles, err := p.client.FetchX509Bundles(ctx)
	if err != nil {
		return "", err
	}
	connection := tls.Client(plain, tlsconfig.MTLSClientConfig(p.x509, bundles, tlsconfig.AuthorizeID(p.id)))
	if err := greet(connection); err != nil {
		return p.refuse("handshake", err), nil
	}
	return connection.ConnectionState().PeerCertificates[0].SerialNumber.Text(16), nil
}

// validate judges the other's token by the bundle that was pushed, which is the key's ID, and by the Workload API, which is its subject.
func (p *peer) validate(ctx context.Context, audience string) (string, string, error) {
	token, err := p.read(".jwt")
	if err != nil || token == "" {
		return absent, absent, err
	}
	const wrong = "nobody-asked-for-this"
	offline, online := "", ""
	if svid, err := jwtsvid.ParseAndValidate(token, p.jwt, []string{audience}); err != nil {
		offline = p.refuse("offline", err)
	} else if svid.ID != p.id {
		offline = p.refuse("offline", fmt.Errorf("it is of %s", svid.ID))
	} else if _, err := jwtsvid.ParseAndValidate(token, p.jwt, []string{wrong}); err == nil {
		return "", "", errors.New("another audience validates offline")
	} else if offline, err = keyID(token); err != nil {
		return "", "", err
	}
	if svid, err := p.client.ValidateJWTSVID(ctx, token, audience); err != nil && status.Code(err) != codes.InvalidArgument {
		return "", "", err
	} else if err != nil {
		online = p.refuse("online", err)
	} else if svid.ID != p.id {
		online = p.refuse("online", fmt.Errorf("it is of %s", svid.ID))
	} else if _, err := p.client.ValidateJWTSVID(ctx, token, wrong); err == nil {
		return "", "", errors.New("another audience validates by the Workload API")
	} else {
		online = svid.ID.String()
	}
	return offline, online, nil
}

// refuse prints why, unless it is why it was the last time.
func (p *peer) refuse(what string, reason error) string {
	if text := reason.Error(); p.reasons[what] != text {
		p.reasons[what] = text
		fmt.Printf("why %s: %q\n", what, text)
	}
	return refused
}

// write replaces a file, so that nobody reads half of it.
func (p *peer) write(kind, text string) error {
	path := filepath.Join(p.folder, p.name+kind)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// read is what the other wrote, or nothing yet.
func (p *peer) read(kind string) (string, error) {
	text, err := os.ReadFile(filepath.Join(p.folder, p.other+kind))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}
