// A workload on grpc-netty and Java's own TLS, which are not ours: what they refuse, Plastron's Workload API gave wrongly.
//
//     java -cp JARS:CLASSES Workload SOCKET AUDIENCE SVIDS
//
// It validates what it gets, again and again, prints one line for each thing that it sees, and ends by itself with status 0 once it has had
// so many SVIDs, and tokens of so many keys, and trusts one authority of each kind. Messages are read and written by hand: this is about
// the connection, which names the socket's path as its authority, and about what Java makes of certificates and tokens.

import com.google.gson.*;
import io.grpc.*;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.epoll.*;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.*;
import java.io.*;
import java.math.BigInteger;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.*;
import java.security.cert.*;
import java.security.spec.*;
import java.util.*;
import java.util.concurrent.*;
import javax.net.ssl.*;

class Workload {
    static final MethodDescriptor.Marshaller<byte[]> BYTES = new MethodDescriptor.Marshaller<>() {
        public InputStream stream(byte[] message) {
            return new ByteArrayInputStream(message);
        }

        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    };

    static MethodDescriptor<byte[], byte[]> method(String name, MethodDescriptor.MethodType type) {
        return MethodDescriptor.newBuilder(BYTES, BYTES).setType(type).setFullMethodName("SpiffeWorkloadAPI/" + name).build();
    }

    /** A message of strings: field numbers and values in turn. */
    static byte[] message(Object... fields) throws IOException {
        var out = new ByteArrayOutputStream();
        for (int i = 0; i < fields.length; i += 2) {
            byte[] value = ((String) fields[i + 1]).getBytes(StandardCharsets.UTF_8);
            out.write((int) fields[i] << 3 | 2);
            int length = value.length;
            for (; length > 0x7f; length >>>= 7) out.write(length & 0x7f | 0x80);
            out.write(length);
            out.write(value);
        }
        return out.toByteArray();
    }

    /** The values of all fields of this number; every field here has a length. */
    static List<byte[]> fields(byte[] message, int wanted) {
        var found = new ArrayList<byte[]>();
        for (int at = 0; at < message.length; ) {
            int tag = message[at++], length = 0;
            if ((tag & 7) != 2) throw new IllegalArgumentException("a field of type " + (tag & 7));
            for (int shift = 0; ; shift += 7) {
                byte next = message[at++];
                length |= (next & 0x7f) << shift;
                if (next >= 0) break;
            }
            if (tag >>> 3 == wanted) found.add(Arrays.copyOfRange(message, at, at + length));
            at += length;
        }
        return found;
    }

    /** A map of bytes by strings. */
    static Map<String, byte[]> map(byte[] message, int field) {
        var found = new HashMap<String, byte[]>();
        for (var entry : fields(message, field)) found.put(text(entry, 1), fields(entry, 2).get(0));
        return found;
    }

    static String domain(String id) {
        return id.substring(0, (id + "/").indexOf('/', "spiffe://".length()));
    }

    static String text(byte[] message, int field) {
        return new String(fields(message, field).get(0), StandardCharsets.UTF_8);
    }

    static List<X509Certificate> certificates(byte[] der) throws CertificateException {
        var found = new ArrayList<X509Certificate>();
        var in = new ByteArrayInputStream(der);
        var factory = CertificateFactory.getInstance("X.509");
        while (in.available() > 0) found.add((X509Certificate) factory.generateCertificate(in));
        return found;
    }

    static String identity(SSLSocket socket) throws Exception {
        var leaf = (X509Certificate) socket.getSession().getPeerCertificates()[0];
        return (String) leaf.getSubjectAlternativeNames().stream().filter(name -> name.get(0).equals(6)).findFirst().get().get(1);
    }

    /** TLS with this SVID that trusts these authorities. */
    static SSLContext tls(byte[] svid, List<X509Certificate> roots) throws Exception {
        var key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(fields(svid, 3).get(0)));
        var own = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        own.setKeyEntry("svid", key, new char[0], certificates(fields(svid, 2).get(0)).toArray(new java.security.cert.Certificate[0]));
        var trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        for (var root : roots) trusted.setCertificateEntry(root.getSerialNumber().toString(), root);
        var keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(own, new char[0]);
        var trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        var context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    /** A server and a client of this workload shake hands, and each finds the ID of the other. */
    static void handshake(byte[] svid, List<X509Certificate> roots) throws Exception {
        var context = tls(svid, roots);
        var id = text(svid, 1);
        try (var listener = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            listener.setNeedClientAuth(true);
            var serving = CompletableFuture.supplyAsync(() -> {
                try (var socket = (SSLSocket) listener.accept()) {
                    socket.startHandshake();
                    var seen = identity(socket);
                    socket.getOutputStream().write(1);
                    return seen;
                } catch (Exception error) {
                    throw new CompletionException(error);
                }
            });
            try (var socket = (SSLSocket) context.getSocketFactory().createSocket(listener.getInetAddress(), listener.getLocalPort())) {
                socket.startHandshake();
                if (socket.getInputStream().read() != 1) throw new IOException("the server hung up");
                if (!identity(socket).equals(id) || !serving.get().equals(id)) throw new IOException("a peer is not " + id);
            }
        }
    }

    /** A JWK set by the IDs of its keys; of nothing, none. */
    static Map<String, PublicKey> keys(byte[] document) throws Exception {
        var found = new HashMap<String, PublicKey>();
        if (document.length == 0) return found;
        var parameters = AlgorithmParameters.getInstance("EC");
        parameters.init(new ECGenParameterSpec("secp256r1"));
        var curve = parameters.getParameterSpec(ECParameterSpec.class);
        var text = new String(document, StandardCharsets.UTF_8);
        for (var element : JsonParser.parseString(text).getAsJsonObject().getAsJsonArray("keys")) {
            var jwk = element.getAsJsonObject();
            if (!jwk.get("crv").getAsString().equals("P-256")) throw new IllegalArgumentException("a key is " + jwk);
            var point = new ECPoint(number(jwk, "x"), number(jwk, "y"));
            var key = KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(point, curve));
            found.put(jwk.get("kid").getAsString(), key);
        }
        return found;
    }

    static BigInteger number(JsonObject jwk, String name) {
        return new BigInteger(1, Base64.getUrlDecoder().decode(jwk.get(name).getAsString()));
    }

    static JsonObject part(String token, int index) {
        var text = new String(Base64.getUrlDecoder().decode(token.split("\\.")[index]), StandardCharsets.UTF_8);
        return JsonParser.parseString(text).getAsJsonObject();
    }

    static List<String> audiences(JsonObject claims) {
        var audience = claims.get("aud");
        if (!audience.isJsonArray()) return List.of(audience.getAsString());
        var found = new ArrayList<String>();
        for (var one : audience.getAsJsonArray()) found.add(one.getAsString());
        return found;
    }

    /** The ID of the key that verifies a token, as RFC 7515 says, or null if none does; the token has not ended. */
    static String verify(String token, Map<String, PublicKey> keys) throws Exception {
        var kid = part(token, 0).get("kid").getAsString();
        if (!keys.containsKey(kid)) return null;
        if (!part(token, 0).get("alg").getAsString().equals("ES256")) throw new IllegalArgumentException(part(token, 0).toString());
        var end = token.lastIndexOf('.');
        var signature = Signature.getInstance("SHA256withECDSAinP1363Format");
        signature.initVerify(keys.get(kid));
        signature.update(token.substring(0, end).getBytes(StandardCharsets.US_ASCII));
        if (!signature.verify(Base64.getUrlDecoder().decode(token.substring(end + 1)))) return null;
        if (part(token, 1).get("exp").getAsLong() * 1000 <= System.currentTimeMillis()) throw new IllegalStateException("a token has ended");
        return kid;
    }

    /** A path, or an address in a form that grpc-java knows. */
    static Channel channel(String socket) {
        if (socket.startsWith("unix:")) return Grpc.newChannelBuilder(socket, InsecureChannelCredentials.create()).build();
        return NettyChannelBuilder.forAddress(new DomainSocketAddress(socket)).usePlaintext()
            .eventLoopGroup(new EpollEventLoopGroup(1)).channelType(EpollDomainSocketChannel.class).build();
    }

    static Channel withHeader(Channel bare) {
        var header = new Metadata();
        header.put(Metadata.Key.of("workload.spiffe.io", Metadata.ASCII_STRING_MARSHALLER), "true");
        return ClientInterceptors.intercept(bare, MetadataUtils.newAttachHeadersInterceptor(header));
    }

    static void refused(Status.Code code, Callable<byte[]> call) throws Exception {
        try {
            call.call();
        } catch (StatusRuntimeException error) {
            if (error.getStatus().getCode() == code) return;
            throw error;
        }
        throw new IllegalStateException("not refused with " + code);
    }

    /** Every call without the header is refused, whoever calls; by its words, since there are other reasons for that code. */
    static void demandsTheHeader(Channel bare, String audience) throws Exception {
        for (var name : List.of("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles", "FetchJWTSVID", "ValidateJWTSVID")) {
            // A server's answer to any of them is a stream that may have one message.
            var call = method(name, MethodDescriptor.MethodType.SERVER_STREAMING);
            var request = name.endsWith("JWTSVID") ? message(1, audience, 2, "x") : new byte[0];
            try {
                ClientCalls.blockingServerStreamingCall(bare, call, CallOptions.DEFAULT, request).next();
            } catch (StatusRuntimeException error) {
                var status = error.getStatus();
                if (status.getCode() == Status.Code.INVALID_ARGUMENT
                    && "security header missing from request".equals(status.getDescription())) continue;
                throw error;
            }
            throw new IllegalStateException(name + " needs no header");
        }
    }

    public static void main(String[] arguments) throws Exception {
        var audience = arguments[1];
        int wanted = Integer.parseInt(arguments[2]);
        var bare = channel(arguments[0]);
        System.out.println("authority " + bare.authority());
        var channel = withHeader(bare);
        var token = method("FetchJWTSVID", MethodDescriptor.MethodType.UNARY);
        var validate = method("ValidateJWTSVID", MethodDescriptor.MethodType.UNARY);
        demandsTheHeader(bare, audience);

        var streams = new Peer(channel, new String[] {null, null, "", null, null, "spiffe://"});
        for (var name : List.of("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles")) streams.follow(name);
        while (streams.latest.size() < 3) Thread.sleep(Peer.PAUSE);
        var leaves = new HashSet<X509Certificate>();
        var signers = new HashSet<String>();
        var tokens = new HashSet<String>();
        for (int rounds = 1; ; rounds++, Thread.sleep(Peer.PAUSE)) {
            var svid = streams.svid();
            var id = text(svid, 1);
            var roots = certificates(fields(svid, 4).get(0));
            handshake(svid, roots);
            if (leaves.add(certificates(fields(svid, 2).get(0)).get(0))) System.out.println("svid " + leaves.size() + " of " + id);

            var jwt = text(fields(ClientCalls.blockingUnaryCall(channel, token, CallOptions.DEFAULT, message(1, audience)), 1).get(0), 2);
            var keys = keys(map(streams.latest.get("FetchJWTBundles"), 1).get(domain(id)));
            var signer = verify(jwt, keys);
            if (signer == null) throw new IllegalStateException("no key of the bundle verifies " + jwt);
            if (!part(jwt, 1).get("sub").getAsString().equals(id)) throw new IllegalStateException("a token is of " + part(jwt, 1));
            tokens.add(jwt);
            if (signers.add(signer)) System.out.println("jwt signer " + signers.size() + " is " + signer);
            var valid = ClientCalls.blockingUnaryCall(channel, validate, CallOptions.DEFAULT, message(1, audience, 2, jwt));
            if (!text(valid, 1).equals(id)) throw new IllegalStateException("a token is of " + text(valid, 1));
            refused(Status.Code.INVALID_ARGUMENT, () -> ClientCalls.blockingUnaryCall(channel, validate, CallOptions.DEFAULT,
                message(1, "nobody-asked-for-this", 2, jwt)));
            var bundle = certificates(map(streams.latest.get("FetchX509Bundles"), 2).get(domain(id)));
            if (leaves.size() >= wanted && signers.size() >= wanted && roots.size() == 1 && bundle.equals(roots) && keys.size() == 1) {
                System.out.println("done: " + rounds + " rounds, " + leaves.size() + " svids, " + tokens.size() + " tokens");
                System.exit(0);
            }
        }
    }
}
