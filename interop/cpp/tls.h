// X.509-SVIDs and mutual TLS by OpenSSL: with one SVID, trusting one bundle, for one peer.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "workload.pb.h"

template <auto free>
struct Freed {
  template <class T>
  void operator()(T* pointer) const {
    free(pointer);
  }
};

using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Context = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;

// Certificates that follow each other without anything between.
std::vector<Certificate> certificates(const std::string& der);
std::string serial_number(X509* certificate);
std::string fingerprint(X509* certificate);
// The only name of its kind; a Refused if there is none, or another.
std::string spiffe_id(X509* certificate);
// Verifies the chain of an SVID below these roots, by OpenSSL's strict rules and for both roles.
void verify_chain(const X509SVID& svid, const std::string& roots);
Context tls_context(const X509SVID& svid, const std::string& roots, bool is_server);

// A listener on loopback, and where it listens.
int listen_on_loopback(std::string& address);
// Accepts one connection and answers it, if it is from who has this ID. Whatever fails is a Refused.
// The context is asked for once the connection is there.
void serve_one(int listener, const std::function<Context()>& context, const std::string& peer);
// Connects, and is the serial number of the other's certificate if each end accepts the other, and the other has this ID.
std::string shake_hands(const std::string& address, SSL_CTX& context, const std::string& peer);
