// A workload on grpc-netty and Java's own TLS, which are not ours: what they refuse, Plastron's Workload API gave wrongly.
//
//     java -cp JARS Workload.java SOCKET AUDIENCE SVIDS
//
// It validates what it gets, again and again, prints one line for each thing that it sees, and ends by itself with status 0 once it has had
// so many SVIDs and trusts one authority. Messages are read and written by hand: this is about the connection, which names the socket's
// path as its authority, and about what Java makes of certificates.

import io.grpc.*;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.epoll.*;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.*;
import java.io.*;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.*;
import java.security.cert.*;
import java.security.spec.PKCS8EncodedKeySpec;
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

    /** A server and a client of this workload shake hands, and each finds the ID of the other. */
    static void handshake(byte[] svid, List<X509Certificate> chain, List<X509Certificate> roots) throws Exception {
        var key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(fields(svid, 3).get(0)));
        var own = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        own.setKeyEntry("svid", key, new char[0], chain.toArray(new java.security.cert.Certificate[0]));
        var trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        for (var root : roots) trusted.setCertificateEntry(root.getSerialNumber().toString(), root);
        var keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(own, new char[0]);
        var trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        var context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
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

    static void refused(Status.Code code, Callable<byte[]> call) throws Exception {
        try {
            call.call();
        } catch (StatusRuntimeException error) {
            if (error.getStatus().getCode() == code) return;
            throw error;
        }
        throw new IllegalStateException("not refused with " + code);
    }

    public static void main(String[] arguments) throws Exception {
        var audience = arguments[1];
        Channel bare = NettyChannelBuilder.forAddress(new DomainSocketAddress(arguments[0])).usePlaintext()
            .eventLoopGroup(new EpollEventLoopGroup(1)).channelType(EpollDomainSocketChannel.class).build();
        System.out.println("authority " + bare.authority());
        var header = new Metadata();
        header.put(Metadata.Key.of("workload.spiffe.io", Metadata.ASCII_STRING_MARSHALLER), "true");
        var channel = ClientInterceptors.intercept(bare, MetadataUtils.newAttachHeadersInterceptor(header));
        var fetch = method("FetchX509SVID", MethodDescriptor.MethodType.SERVER_STREAMING);
        var token = method("FetchJWTSVID", MethodDescriptor.MethodType.UNARY);
        var validate = method("ValidateJWTSVID", MethodDescriptor.MethodType.UNARY);
        refused(Status.Code.INVALID_ARGUMENT,
            () -> ClientCalls.blockingUnaryCall(bare, token, CallOptions.DEFAULT, message(1, audience)));

        var leaves = new HashSet<X509Certificate>();
        while (true) {
            try {
                var stream = ClientCalls.blockingServerStreamingCall(channel, fetch, CallOptions.DEFAULT, new byte[0]);
                while (stream.hasNext()) {
                    var svid = fields(stream.next(), 1).get(0);
                    var roots = certificates(fields(svid, 4).get(0));
                    var chain = certificates(fields(svid, 2).get(0));
                    handshake(svid, chain, roots);
                    var jwt = fields(ClientCalls.blockingUnaryCall(channel, token, CallOptions.DEFAULT, message(1, audience)), 1).get(0);
                    var request = message(1, audience, 2, text(jwt, 2));
                    var valid = ClientCalls.blockingUnaryCall(channel, validate, CallOptions.DEFAULT, request);
                    if (!text(valid, 1).equals(text(svid, 1))) throw new IllegalStateException("a token is of " + text(valid, 1));
                    refused(Status.Code.INVALID_ARGUMENT, () -> ClientCalls.blockingUnaryCall(channel, validate, CallOptions.DEFAULT,
                        message(1, "nobody-asked-for-this", 2, text(jwt, 2))));
                    if (leaves.add(chain.get(0))) System.out.println("svid " + leaves.size() + " of " + text(svid, 1));
                    System.out.println("authorities " + roots.size());
                    if (leaves.size() >= Integer.parseInt(arguments[2]) && roots.size() == 1) System.exit(0);
                }
            } catch (StatusRuntimeException error) {
                // No entry has reached the agent yet.
                if (error.getStatus().getCode() != Status.Code.PERMISSION_DENIED) throw error;
                Thread.sleep(100);
            }
        }
    }
}
