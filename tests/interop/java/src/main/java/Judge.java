import io.spiffe.bundle.jwtbundle.JwtBundleSet;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.WorkloadApiClient;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * A workload that judges JWT-SVIDs of any trust domain with java-spiffe.
 *
 * <p>Usage: Judge AUDIENCE TOKEN..., with SPIFFE_ENDPOINT_SOCKET set. tests/src/peer.rs says which
 * lines it prints.
 */
public final class Judge {
    private static final Logger LIBRARY_LOG = Logger.getLogger("io.spiffe");

    private Judge() {}

    public static void main(String[] arguments) throws Exception {
        LIBRARY_LOG.setLevel(Level.OFF);
        String audience = arguments[0];
        WorkloadApiClient client = DefaultWorkloadApiClient.newClient();
        JwtBundleSet bundles = client.fetchJwtBundles();
        for (int i = 1; i < arguments.length; i++) {
            String token = arguments[i];
            String here = whose(() -> JwtSvid.parseAndValidate(token, bundles, Set.of(audience)));
            String there = whose(() -> client.validateJwtSvid(token, audience));
            System.out.printf(
                    "{\"event\":\"token\",\"here\":\"%s\",\"there\":\"%s\"}%n", here, there);
        }
        System.exit(0);
    }

    /** The SPIFFE ID of a token that is accepted, and nothing where it is not. */
    private static String whose(Callable<JwtSvid> judgement) {
        try {
            return judgement.call().getSpiffeId().toString();
        } catch (Exception refused) {
            System.err.println(refused);
            return "";
        }
    }
}
