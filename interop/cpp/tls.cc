#include "tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api.h"

namespace {

constexpr int PATIENCE_SECONDS = 30;
const std::string GREETING = "hello";

using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Connection = std::unique_ptr<SSL, Freed<SSL_free>>;

std::string openssl_error() {
  char text[256];
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  ERR_clear_error();
  return text;
}

void check(bool is_so, const std::string& what) {
  if (!is_so) fail(what + ": " + openssl_error());
}

Key private_key(const std::string& der) {
  auto data = reinterpret_cast<const unsigned char*>(der.data());
  std::unique_ptr<PKCS8_PRIV_KEY_INFO, Freed<PKCS8_PRIV_KEY_INFO_free>> info(
      d2i_PKCS8_PRIV_KEY_INFO(nullptr, &data, static_cast<long>(der.size())));
  check(info != nullptr, "the key is no PKCS#8");
  Key key(EVP_PKCS82PKEY(info.get()));
  check(key != nullptr, "the key is of no kind that OpenSSL knows");
  return key;
}

// Closes the socket at the end of its life.
struct Socket {
  explicit Socket(int number) : number(number) {
    if (number < 0) fail("no socket");
    timeval patience{PATIENCE_SECONDS, 0};
    setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }
  ~Socket() { close(number); }
  Socket(const Socket&) = delete;

  const int number;
};

Connection connection(const Socket& socket, SSL_CTX& context) {
  Connection connection(SSL_new(&context));
  check(connection && SSL_set_fd(connection.get(), socket.number) == 1, "no connection");
  return connection;
}

Certificate peer_certificate(SSL* connection, const std::string& expected) {
  Certificate certificate(SSL_get1_peer_certificate(connection));
  if (!certificate) throw Refused("the other has no certificate");
  std::string id = spiffe_id(certificate.get());
  if (id != expected) throw Refused("it is " + id);
  return certificate;
}

std::string read_greeting(SSL* connection) {
  std::string greeting(GREETING.size(), '\0');
  int length = SSL_read(connection, greeting.data(), static_cast<int>(greeting.size()));
  if (length <= 0) throw Refused("nothing was said: " + openssl_error());
  greeting.resize(static_cast<size_t>(length));
  return greeting;
}

}  // namespace

std::vector<Certificate> certificates(const std::string& der) {
  std::vector<Certificate> found;
  auto data = reinterpret_cast<const unsigned char*>(der.data()), end = data + der.size();
  while (data < end) {
    found.emplace_back(d2i_X509(nullptr, &data, end - data));
    check(found.back() != nullptr, "no certificate");
  }
  return found;
}

std::string serial_number(X509* certificate) {
  std::unique_ptr<BIGNUM, Freed<BN_free>> number(ASN1_INTEGER_to_BN(X509_get_serialNumber(certificate), nullptr));
  char* text = BN_bn2hex(number.get());
  std::string serial(text);
  OPENSSL_free(text);
  return serial;
}

std::string fingerprint(X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  check(X509_digest(certificate, EVP_sha256(), digest, &length) == 1, "no digest");
  std::string text;
  for (unsigned int i = 0; i < length; ++i) {
    char two[3];
    snprintf(two, sizeof two, "%02x", digest[i]);
    text += two;
  }
  return text;
}

std::string spiffe_id(X509* certificate) {
  std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> uris;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    auto text = reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier));
    uris.emplace_back(text, static_cast<size_t>(ASN1_STRING_length(name->d.uniformResourceIdentifier)));
  }
  if (uris.size() != 1) throw Refused(std::to_string(uris.size()) + " URIs in a certificate");
  return uris[0];
}

void verify_chain(const X509SVID& svid, const std::string& roots) {
  std::unique_ptr<X509_STORE, Freed<X509_STORE_free>> store(X509_STORE_new());
  for (const auto& root : certificates(roots)) check(X509_STORE_add_cert(store.get(), root.get()) == 1, "no root");
  auto chain = certificates(svid.x509_svid());
  std::unique_ptr<STACK_OF(X509), void (*)(STACK_OF(X509)*)> others(sk_X509_new_null(), [](STACK_OF(X509)* stack) { sk_X509_free(stack); });
  for (size_t i = 1; i < chain.size(); ++i) sk_X509_push(others.get(), chain[i].get());
  for (int purpose : {X509_PURPOSE_SSL_CLIENT, X509_PURPOSE_SSL_SERVER}) {
    std::unique_ptr<X509_STORE_CTX, Freed<X509_STORE_CTX_free>> context(X509_STORE_CTX_new());
    check(X509_STORE_CTX_init(context.get(), store.get(), chain.at(0).get(), others.get()) == 1, "no context");
    X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_X509_STRICT);
    X509_STORE_CTX_set_purpose(context.get(), purpose);
    if (X509_verify_cert(context.get()) != 1) {
      fail(std::string("an SVID does not verify: ") + X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
    }
  }
  if (spiffe_id(chain[0].get()) != svid.spiffe_id()) fail("an SVID is of another ID");
}

Context tls_context(const X509SVID& svid, const std::string& roots, bool is_server) {
  Context context(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method()));
  auto chain = certificates(svid.x509_svid());
  check(SSL_CTX_use_certificate(context.get(), chain.at(0).get()) == 1, "no certificate");
  for (size_t i = 1; i < chain.size(); ++i) check(SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) == 1, "no chain");
  check(SSL_CTX_use_PrivateKey(context.get(), private_key(svid.x509_svid_key()).get()) == 1, "the key is another certificate's");
  for (const auto& root : certificates(roots)) {
    check(X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get()) == 1, "no root");
  }
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context.get()), X509_V_FLAG_X509_STRICT);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  return context;
}

int listen_on_loopback(std::string& address) {
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof place;
  auto name = reinterpret_cast<sockaddr*>(&place);
  if (bind(listener, name, length) != 0 || listen(listener, 16) != 0 || getsockname(listener, name, &length) != 0) {
    fail("nowhere to listen");
  }
  address = "127.0.0.1:" + std::to_string(ntohs(place.sin_port));
  return listener;
}

void serve_one(int listener, const std::function<Context()>& context, const std::string& peer) {
  Socket socket(accept(listener, nullptr, nullptr));
  Context of_server = context();
  Connection connection = ::connection(socket, *of_server);
  if (SSL_accept(connection.get()) != 1) throw Refused(openssl_error());
  peer_certificate(connection.get(), peer);
  std::string greeting = read_greeting(connection.get());
  SSL_write(connection.get(), greeting.data(), static_cast<int>(greeting.size()));
  SSL_shutdown(connection.get());
}

std::string shake_hands(const std::string& address, SSL_CTX& context, const std::string& peer) {
  Socket socket(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  place.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
  if (connect(socket.number, reinterpret_cast<sockaddr*>(&place), sizeof place) != 0) fail("nobody listens at " + address);
  Connection connection = ::connection(socket, context);
  if (SSL_connect(connection.get()) != 1) {
    long verdict = SSL_get_verify_result(connection.get());
    throw Refused(verdict == X509_V_OK ? openssl_error() : X509_verify_cert_error_string(verdict));
  }
  Certificate certificate = peer_certificate(connection.get(), peer);
  if (SSL_write(connection.get(), GREETING.data(), static_cast<int>(GREETING.size())) <= 0) throw Refused(openssl_error());
  if (read_greeting(connection.get()) != GREETING) throw Refused("another answer");
  return serial_number(certificate.get());
}
