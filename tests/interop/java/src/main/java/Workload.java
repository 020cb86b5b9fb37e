import io.grpc.Status;
import io.spiffe.bundle.jwtbundle.JwtBundleSet;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.svid.x509svid.X509Svid;
import io.spiffe.svid.x509svid.X509SvidValidator;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import io.spiffe.workloadapi.retry.ExponentialBackoffPolicy;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * A workload that gets its identity with java-spiffe.
 *
 * <p>Usage: Workload AUDIENCE, with SPIFFE_ENDPOINT_SOCKET set. tests/src/interop.rs says which
 * lines it prints. It ends with code 0 once the agent has ended its stream and refused a second
 * one (the library always asks twice), and with code 1 and a message at any surprise.
 */
public final class Workload {
    private static final Logger LIBRARY_LOG = Logger.getLogger("io.spiffe");

    private Workload() {}

    public static void main(String[] arguments) {
        LIBRARY_LOG.setLevel(Level.OFF);
        int code = 0;
        try {
            run(arguments[0]);
        } catch (Throwable surprise) {
            surprise.printStackTrace();
            code = 1;
        }
        System.exit(code);
    }

    private static void run(String audience) throws Exception {
        BlockingQueue<Object> updates = new LinkedBlockingQueue<>();
        WorkloadApiClient client = connect();
        client.watchX509Context(new Watcher<X509Context>() {
            @Override
            public void onUpdate(X509Context context) {
                updates.add(context);
            }

            @Override
            public void onError(Throwable error) {
                updates.add(error);
            }
        });
        boolean fetched = false;
        Object update = updates.take();
        while (update instanceof X509Context) {
            showX509((X509Context) update);
            if (!fetched) {
                showJwt(client, audience);
                fetched = true;
            }
            update = updates.take();
        }
        showEnd(fetched, (Throwable) update);
    }

    private static WorkloadApiClient connect() throws Exception {
        ExponentialBackoffPolicy once =
                ExponentialBackoffPolicy.builder()
                        .initialDelay(Duration.ofMillis(10))
                        .maxRetries(1)
                        .build();
        return DefaultWorkloadApiClient.newClient(
                DefaultWorkloadApiClient.ClientOptions.builder()
                        .exponentialBackoffPolicy(once)
                        .build());
    }

    /** Verifies the default X.509-SVID against its bundle, and reports it. */
    private static void showX509(X509Context context) throws Exception {
        X509Svid svid = context.getDefaultSvid();
        X509SvidValidator.verifyChain(svid.getChain(), context.getX509BundleSet());
        String serial = String.format("%032x", svid.getLeaf().getSerialNumber());
        emit("x509", "spiffe_id", svid.getSpiffeId().toString(), "serial", serial);
    }

    /** Fetches a JWT-SVID and validates it here and through the agent. */
    private static void showJwt(WorkloadApiClient client, String audience) throws Exception {
        String token = client.fetchJwtSvid(audience).getToken();
        JwtSvid there = client.validateJwtSvid(token, audience);
        JwtBundleSet bundles = client.fetchJwtBundles();
        JwtSvid here = JwtSvid.parseAndValidate(token, bundles, Set.of(audience));
        if (!here.getSpiffeId().equals(there.getSpiffeId())) {
            throw new IllegalStateException(here.getSpiffeId() + " here, " + there.getSpiffeId());
        }
        emit("jwt", "spiffe_id", here.getSpiffeId().toString());
    }

    private static void showEnd(boolean fetched, Throwable error) throws Exception {
        Status.Code code = Status.fromThrowable(error).getCode();
        if (!fetched || code != Status.Code.PERMISSION_DENIED) {
            throw new IllegalStateException("the stream ended unexpectedly", error);
        }
        emit("ended", "code", code.name());
    }

    /** Prints one event with names and values in turn, none of which needs escaping in JSON. */
    private static void emit(String event, String... fields) {
        StringBuilder line = new StringBuilder("{\"event\":\"").append(event).append('"');
        for (int i = 0; i < fields.length; i += 2) {
            line.append(String.format(",\"%s\":\"%s\"", fields[i], fields[i + 1]));
        }
        System.out.println(line.append('}'));
    }
}
