// A workload that gets its identity with go-spiffe.
//
// Usage: workload AUDIENCE, with SPIFFE_ENDPOINT_SOCKET set. tests/src/interop.rs
// says which lines it prints. It ends with code 0 once the agent has ended its
// stream, and with code 1 and a message at any surprise.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// event is one line of output.
type event struct {
	Event    string `json:"event"`
	SpiffeID string `json:"spiffe_id,omitempty"`
	Serial   string `json:"serial,omitempty"`
	Code     string `json:"code,omitempty"`
}

// update is what the stream brought: a context or the error that ended it.
type update struct {
	context *workloadapi.X509Context
	err     error
}

// watcher hands the stream's updates to the main goroutine.
type watcher chan update

func (w watcher) OnX509ContextUpdate(c *workloadapi.X509Context) { w <- update{context: c} }
func (w watcher) OnX509ContextWatchError(err error)              { w <- update{err: err} }

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, audience string) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(watcher, 1)
	go client.WatchX509Context(ctx, updates)

	fetched := false
	for u := range updates {
		if u.err != nil {
			return showEnd(fetched, u.err)
		}
		if err := showX509(u.context); err != nil {
			return err
		}
		if !fetched {
			if err := showJWT(ctx, client, audience); err != nil {
				return err
			}
			fetched = true
		}
	}
	return errors.New("the updates ended")
}

// showX509 verifies the default X.509-SVID against its bundle, and reports it.
func showX509(c *workloadapi.X509Context) error {
	svid := c.DefaultSVID()
	if _, _, err := x509svid.Verify(svid.Certificates, c.Bundles); err != nil {
		return err
	}
	return emit(event{
		Event:    "x509",
		SpiffeID: svid.ID.String(),
		Serial:   fmt.Sprintf("%032x", svid.Certificates[0].SerialNumber),
	})
}

// showJWT fetches a JWT-SVID and validates it here and through the agent.
func showJWT(ctx context.Context, client *workloadapi.Client, audience string) error {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	there, err := client.ValidateJWTSVID(ctx, svid.Marshal(), audience)
	if err != nil {
		return err
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return err
	}
	here, err := jwtsvid.ParseAndValidate(svid.Marshal(), bundles, []string{audience})
	if err != nil {
		return err
	}
	if here.ID != there.ID {
		return fmt.Errorf("%s here, %s there", here.ID, there.ID)
	}
	return emit(event{Event: "jwt", SpiffeID: here.ID.String()})
}

// showEnd reports the status that ended the stream.
func showEnd(fetched bool, err error) error {
	code := status.Code(err)
	if !fetched || code != codes.PermissionDenied {
		return err
	}
	return emit(event{Event: "ended", Code: "PERMISSION_DENIED"})
}

func emit(e event) error {
	return json.NewEncoder(os.Stdout).Encode(e)
}
