module plastron.example/hcl1-oracle

go 1.26

require github.com/hashicorp/hcl v1.0.1-vault-7
