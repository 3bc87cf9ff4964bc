// A workload on grpc-netty and Java's own TLS and cryptography that another meets, of another trust domain perhaps.
//
//     java -cp JARS:CLASSES Peer ENDPOINT peer FOLDER NAME OTHER ID
//
// Both write where they listen and a token for the other into one folder. Each round it connects to the other and validates the other's
// token, and prints the outcomes, until it is terminated. Trust is the bundle of the other's trust domain alone.

import io.grpc.*;
import io.grpc.stub.*;
import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.cert.X509Certificate;
import java.util.*;
import java.util.concurrent.*;
import javax.net.ssl.*;

class Peer {
    /** What Java or the agent does not accept, and why. */
    static class Refused extends Exception {
        Refused(String why) {
            super(why);
        }
    }

    interface Judgement {
        String judge() throws Exception;
    }

    static final int PAUSE = 100, PATIENCE = 30_000;
    static final byte[] GREETING = "hello".getBytes(StandardCharsets.UTF_8);

    final Path folder;
    final String name, other, id, domain;
    final Channel channel;
    /** The last message of each stream, by the name of its method. */
    final Map<String, byte[]> latest = new ConcurrentHashMap<>();
    final Map<String, String> reasons = new HashMap<>();

    Peer(Channel channel, String[] arguments) {
        this.channel = channel;
        folder = Path.of(arguments[2]);
        name = arguments[3];
        other = arguments[4];
        id = arguments[5];
        domain = Workload.domain(id);
    }

    /** Keeps the last message of a stream, which is opened anew when it ends: no entry has reached the agent yet. */
    void follow(String method) {
        var call = channel.newCall(Workload.method(method, MethodDescriptor.MethodType.SERVER_STREAMING), CallOptions.DEFAULT);
        ClientCalls.asyncServerStreamingCall(call, new byte[0], new StreamObserver<>() {
            public void onNext(byte[] message) {
                latest.put(method, message);
            }

            public void onError(Throwable error) {
                if (Status.fromThrowable(error).getCode() != Status.Code.PERMISSION_DENIED) {
                    error.printStackTrace();
                    System.exit(1);
                }
                CompletableFuture.delayedExecutor(PAUSE, TimeUnit.MILLISECONDS).execute(() -> follow(method));
            }

            public void onCompleted() {
                follow(method);
            }
        });
    }

    byte[] call(String method, Object... fields) throws IOException {
        return ClientCalls.blockingUnaryCall(channel, Workload.method(method, MethodDescriptor.MethodType.UNARY), CallOptions.DEFAULT,
            Workload.message(fields));
    }

    byte[] svid() {
        return Workload.fields(latest.get("FetchX509SVID"), 1).get(0);
    }

    /** The bundle of the other's trust domain in a message, whose map has this number; empty if there is none. */
    byte[] bundle(String method, int field) {
        return Workload.map(latest.get(method), field).getOrDefault(domain, new byte[0]);
    }

    SSLContext tls() throws Exception {
        return Workload.tls(svid(), Workload.certificates(bundle("FetchX509Bundles", 2)));
    }

    void authorize(SSLSocket socket) throws Exception {
        if (!Workload.identity(socket).equals(id)) throw new Refused("it is " + Workload.identity(socket));
    }

    void serve(ServerSocket listener) {
        while (true) {
            try (var plain = listener.accept()) {
                plain.setSoTimeout(PATIENCE);
                var socket = (SSLSocket) tls().getSocketFactory().createSocket(plain, null, plain.getPort(), true);
                socket.setUseClientMode(false);
                socket.setNeedClientAuth(true);
                socket.startHandshake();
                authorize(socket);
                socket.getOutputStream().write(socket.getInputStream().readNBytes(GREETING.length));
                socket.close();
            } catch (IOException | Refused error) {
                // It fails at the other end too, which tells.
            } catch (Exception error) {
                error.printStackTrace();
                System.exit(1);
            }
        }
    }

    /** The serial number of the other's certificate, if each end accepts the other. */
    String handshake() throws Exception {
        var address = read(".address").split(":");
        try (var plain = new Socket(address[0], Integer.parseInt(address[1]))) {
            plain.setSoTimeout(PATIENCE);
            try (var socket = (SSLSocket) tls().getSocketFactory().createSocket(plain, null, plain.getPort(), true)) {
                socket.startHandshake();
                authorize(socket);
                socket.getOutputStream().write(GREETING);
                if (!Arrays.equals(socket.getInputStream().readNBytes(GREETING.length), GREETING)) throw new Refused("no answer");
                return ((X509Certificate) socket.getSession().getPeerCertificates()[0]).getSerialNumber().toString(16);
            } catch (IOException error) {
                throw new Refused(error.toString());
            }
        }
    }

    /** The ID of the key that signed the other's token, if the bundle that was pushed has it. */
    String offline(String audience) throws Exception {
        var token = read(".jwt");
        var keys = Workload.keys(bundle("FetchJWTBundles", 1));
        var kid = Workload.verify(token, keys);
        if (kid == null) throw new Refused("no key of " + domain + " verifies it");
        var claims = Workload.part(token, 1);
        if (!claims.get("sub").getAsString().equals(id)) throw new Refused("it is of " + claims.get("sub"));
        if (!Workload.audiences(claims).equals(List.of(audience))) throw new IllegalStateException("a token for " + claims.get("aud"));
        return kid;
    }

    String online(String audience) throws Exception {
        var token = read(".jwt");
        byte[] valid;
        try {
            valid = call("ValidateJWTSVID", 1, audience, 2, token);
        } catch (StatusRuntimeException error) {
            if (error.getStatus().getCode() != Status.Code.INVALID_ARGUMENT) throw error;
            throw new Refused(error.toString());
        }
        if (!Workload.text(valid, 1).equals(id)) throw new Refused("it is of " + Workload.text(valid, 1));
        Workload.refused(Status.Code.INVALID_ARGUMENT, () -> call("ValidateJWTSVID", 1, "nobody-asked-for-this", 2, token));
        return id;
    }

    void round() throws Exception {
        var own = Workload.fields(call("FetchJWTSVID", 1, id), 1).get(0);
        write(".jwt", Workload.text(own, 2));
        var audience = Workload.text(own, 1);
        var outcomes = outcome("handshake", this::handshake) + outcome("offline", () -> offline(audience))
            + outcome("online", () -> online(audience));
        var roots = Workload.certificates(bundle("FetchX509SVID", 3)).size();
        System.out.println("round" + outcomes + " roots=" + roots + " keys=" + Workload.keys(bundle("FetchJWTBundles", 1)).size());
    }

    String outcome(String what, Judgement judgement) throws Exception {
        try {
            return " " + what + "=" + judgement.judge();
        } catch (NoSuchFileException error) {
            return " " + what + "=none";
        } catch (Refused error) {
            if (!error.getMessage().equals(reasons.put(what, error.getMessage()))) {
                System.out.println("why " + what + ": " + error.getMessage());
            }
            return " " + what + "=refused";
        }
    }

    /** Replaces a file, so that nobody reads half of it. */
    void write(String kind, String text) throws IOException {
        var path = folder.resolve(name + kind + ".new");
        Files.writeString(path, text);
        Files.move(path, folder.resolve(name + kind), StandardCopyOption.ATOMIC_MOVE);
    }

    String read(String kind) throws IOException {
        return Files.readString(folder.resolve(other + kind));
    }

    public static void main(String[] arguments) throws Exception {
        var peer = new Peer(Workload.withHeader(Workload.channel(arguments[0])), arguments);
        for (var method : List.of("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles")) peer.follow(method);
        while (peer.latest.size() < 3) Thread.sleep(PAUSE);
        var listener = new ServerSocket(0, 16, InetAddress.getLoopbackAddress());
        var serving = new Thread(() -> peer.serve(listener));
        serving.setDaemon(true);
        serving.start();
        peer.write(".address", listener.getInetAddress().getHostAddress() + ":" + listener.getLocalPort());
        for (; ; Thread.sleep(PAUSE)) peer.round();
    }
}
