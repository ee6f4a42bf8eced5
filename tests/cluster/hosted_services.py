"""Storage services that others wrote, on loopback: moto speaks S3, Azurite the protocol of Azure Blob Storage."""

import base64
import logging
import os
import socket
import subprocess
import time

BUCKET = "piref"


class S3:
    """moto, in this process."""

    root = f"s3://{BUCKET}"
    prefix = "AWS_"  # of its variables
    secret = "not-to-be-told-to-anybody-0123456789"
    credentials = "AWS_ACCESS_KEY_ID"
    endpoint = "AWS_ENDPOINT_URL"
    codes = {403: "AccessDenied", 503: "SlowDown"}

    def __init__(self):
        import boto3
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        self.address = self.server.get_host_and_port()
        keys = {"aws_access_key_id": "piref", "aws_secret_access_key": self.secret, "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url="http://%s:%d" % self.address, **keys)
        self.client.create_bucket(Bucket=BUCKET)

    def environment(self, at):
        return {
            "AWS_ACCESS_KEY_ID": "piref",
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            self.endpoint: at,
        }

    def put(self, key, content):
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def get(self, key):
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def delete(self, key):
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def keys(self, prefix):
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix, Delimiter="/").get("Contents", [])
        return [entry["Key"] for entry in found]

    def stop(self):
        self.server.stop()


class Azure:
    """Azurite, a process of node."""

    root = f"az://{BUCKET}"
    prefix = "AZURE_"
    account = "pirefaccount"
    secret = base64.b64encode(b"not to be told to anybody, 0123456789").decode()
    credentials = "AZURE_STORAGE_ACCOUNT_KEY"
    endpoint = "AZURE_STORAGE_ENDPOINT"
    codes = {403: "AuthenticationFailed", 503: "ServerBusy"}

    def __init__(self):
        from azure.storage.blob import ContainerClient

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = free.getsockname()
        # What Azurite does not know of the client's newest version of the protocol it would refuse.
        options = ["--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck"]
        place = ["--blobHost", self.address[0], "--blobPort", str(self.address[1])]
        environment = os.environ | {"AZURITE_ACCOUNTS": f"{self.account}:{self.secret}"}
        self.process = subprocess.Popen([os.environ["AZURITE"], *place, *options], env=environment, stdout=subprocess.DEVNULL)
        url = "http://%s:%d/%s" % (*self.address, self.account)
        credential = {"account_name": self.account, "account_key": self.secret}
        self.client = ContainerClient(url, BUCKET, credential=credential)
        self.wait()
        self.client.create_container()

    def wait(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                return socket.create_connection(self.address, timeout=1).close()
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def environment(self, at):
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.secret,
            self.endpoint: f"{at}/{self.account}",
        }

    def put(self, key, content):
        self.client.upload_blob(key, content, overwrite=True)

    def get(self, key):
        return self.client.download_blob(key).readall()

    def delete(self, key):
        self.client.delete_blob(key)

    def keys(self, prefix):
        names = [blob.name for blob in self.client.list_blobs(name_starts_with=prefix)]
        return [name for name in names if "/" not in name.removeprefix(prefix)]

    def stop(self):
        self.process.terminate()
        self.process.wait()


SERVICES = {"s3": S3, "azure": Azure}
