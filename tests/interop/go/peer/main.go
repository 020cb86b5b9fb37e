// A workload that meets those of other trust domains, with go-spiffe.
//
// Usage: peer serve PEER AUDIENCE
//
//	peer meet ADDRESS PEER AUDIENCE
//	peer force ADDRESS AUDIENCE
//	peer judge AUDIENCE TOKEN...
//
// with SPIFFE_ENDPOINT_SOCKET set. tests/src/peer.rs says which lines it prints.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// pace is the time between two meetings: a steady load, not a flood.
const pace = 20 * time.Millisecond

// patience is how long one meeting may take on a busy machine.
const patience = 30 * time.Second

// event is one line of output.
type event struct {
	Event   string `json:"event"`
	Address string `json:"address,omitempty"`
	Error   string `json:"error,omitempty"`
	*meeting
	*verdict
}

// meeting tells which keys signed what both sides showed.
type meeting struct {
	Authority     string `json:"authority"`
	Key           string `json:"key"`
	PeerAuthority string `json:"peer_authority"`
	PeerKey       string `json:"peer_key"`
}

// verdict tells whose a token is: by the library's bundles, and by the agent.
type verdict struct {
	Here  string `json:"here"`
	There string `json:"there"`
}

// workload has what one process needs, kept up to date by the library.
type workload struct {
	client   *workloadapi.Client
	x509     *workloadapi.X509Source
	jwt      *workloadapi.JWTSource
	peer     spiffeid.ID
	audience string
}

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, what string, args []string) error {
	switch what {
	case "serve":
		w, err := newWorkload(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		return w.serve(ctx)
	case "meet":
		w, err := newWorkload(ctx, args[1], args[2])
		if err != nil {
			return err
		}
		return w.meetAgainAndAgain(ctx, args[0])
	case "force":
		w, err := newWorkload(ctx, "", args[1])
		if err != nil {
			return err
		}
		if err := w.force(ctx, args[0]); err != nil {
			return errors.Join(err, emit(event{Event: "failed", Error: err.Error()}))
		}
		return emit(event{Event: "forced"})
	case "judge":
		w, err := newWorkload(ctx, "", args[0])
		if err != nil {
			return err
		}
		for _, token := range args[1:] {
			if err := emit(event{Event: "token", verdict: w.judge(ctx, token)}); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%q is not known", what)
}

func newWorkload(ctx context.Context, peer, audience string) (*workload, error) {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return nil, err
	}
	w := &workload{client: client, audience: audience}
	if peer != "" {
		if w.peer, err = spiffeid.FromString(peer); err != nil {
			return nil, err
		}
	}
	if w.x509, err = workloadapi.NewX509Source(ctx, workloadapi.WithClient(client)); err != nil {
		return nil, err
	}
	w.jwt, err = workloadapi.NewJWTSource(ctx, workloadapi.WithClient(client))
	return w, err
}

// serve lets the peer in, one connection after the other.
func (w *workload) serve(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := emit(event{Event: "listening", Address: listener.Addr().String()}); err != nil {
		return err
	}
	config := tlsconfig.MTLSServerConfig(w.x509, w.x509, tlsconfig.AuthorizeID(w.peer))
	for {
		stream, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := w.welcome(ctx, tls.Server(stream, config)); err != nil {
			if err := emit(event{Event: "refused", Error: err.Error()}); err != nil {
				return err
			}
		}
	}
}

// welcome takes the peer's JWT-SVID and answers with one of its own.
func (w *workload) welcome(ctx context.Context, stream *tls.Conn) error {
	defer stream.Close()
	if err := stream.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	theirs, err := bufio.NewReader(stream).ReadString('\n')
	if err != nil {
		return err
	}
	if err := w.check(ctx, strings.TrimSpace(theirs)); err != nil {
		return err
	}
	ours, err := w.token(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stream, ours)
	return err
}

// meetAgainAndAgain ends with the first meeting that fails.
func (w *workload) meetAgainAndAgain(ctx context.Context, address string) error {
	var last meeting
	ticker := time.NewTicker(pace)
	for ; ; <-ticker.C {
		met, err := w.meet(ctx, address)
		if err != nil {
			return errors.Join(err, emit(event{Event: "failed", Error: err.Error()}))
		}
		if *met != last {
			if err := emit(event{Event: "met", meeting: met}); err != nil {
				return err
			}
			last = *met
		}
	}
}

// meet makes a connection, and shows a JWT-SVID for another.
func (w *workload) meet(ctx context.Context, address string) (*meeting, error) {
	config := tlsconfig.MTLSClientConfig(w.x509, w.x509, tlsconfig.AuthorizeID(w.peer))
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: config}
	stream, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if err := stream.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	own, err := w.x509.GetX509SVID()
	if err != nil {
		return nil, err
	}
	ours, err := w.token(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(stream, ours); err != nil {
		return nil, err
	}
	theirs, err := bufio.NewReader(stream).ReadString('\n')
	if err != nil {
		return nil, err
	}
	theirs = strings.TrimSpace(theirs)
	if err := w.check(ctx, theirs); err != nil {
		return nil, err
	}
	peer := stream.(*tls.Conn).ConnectionState().PeerCertificates[0]
	return &meeting{
		Authority:     hex.EncodeToString(own.Certificates[0].AuthorityKeyId),
		Key:           keyOf(ours),
		PeerAuthority: hex.EncodeToString(peer.AuthorityKeyId),
		PeerKey:       keyOf(theirs),
	}, nil
}

// force shows what it has to whoever is there, and is content with any answer.
func (w *workload) force(ctx context.Context, address string) error {
	config := &tls.Config{
		GetClientCertificate: tlsconfig.GetClientCertificate(w.x509),
		InsecureSkipVerify:   true,
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: config}
	stream, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := stream.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	ours, err := w.token(ctx)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stream, ours); err != nil {
		return err
	}
	_, err = bufio.NewReader(stream).ReadString('\n')
	return err
}

func (w *workload) token(ctx context.Context) (string, error) {
	svid, err := w.client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: w.audience})
	if err != nil {
		return "", err
	}
	return svid.Marshal(), nil
}

// check takes the peer's token only, from the library and from the agent.
func (w *workload) check(ctx context.Context, token string) error {
	verdict, peer := w.judge(ctx, token), w.peer.String()
	if verdict.Here != peer || verdict.There != peer {
		return fmt.Errorf("the token of %s: %q here, %q there", peer, verdict.Here, verdict.There)
	}
	return nil
}

func (w *workload) judge(ctx context.Context, token string) *verdict {
	verdict := &verdict{}
	here, err := jwtsvid.ParseAndValidate(token, w.jwt, []string{w.audience})
	if err == nil {
		verdict.Here = here.ID.String()
	} else {
		fmt.Fprintln(os.Stderr, "here:", err)
	}
	there, err := w.client.ValidateJWTSVID(ctx, token, w.audience)
	if err == nil {
		verdict.There = there.ID.String()
	} else {
		fmt.Fprintln(os.Stderr, "there:", err)
	}
	return verdict
}

// keyOf is the name of the key that signed a token.
func keyOf(token string) string {
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return ""
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&header); err != nil {
		return ""
	}
	return header.KeyID
}

func emit(e event) error {
	return json.NewEncoder(os.Stdout).Encode(e)
}
