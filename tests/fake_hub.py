"""A Hugging Face Hub on this machine, by HTTP: what huggingface_hub asks of the real one to push and load a model."""
import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN, READ_ONLY, USER = 'hf_of_this_test', 'hf_that_may_only_read', 'tester'


class FakeHub:
    """Repositories in memory, each a list of commits: the files by name. One user, who owns `tester/...`.

    Attributes:
        url: for HF_ENDPOINT.
        repos: {'tester/name': {'private': bool, 'commits': [{file name: bytes}]}}.
        asked: 'METHOD path' of every request.
    """

    def __init__(self):
        self.repos, self.objects, self.asked = {}, {}, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
                path = self.path.partition('?')[0]
                hub.asked.append(f'{self.command} {path}')
                status, headers, content = hub.answer(self.command, path, self.headers, body)
                self.send_response(status)
                for name, value in {'Content-Length': str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != 'HEAD':
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = answer

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}'
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def files(self, repo):
        return self.repos[repo]['commits'][-1] if self.repos[repo]['commits'] else {}

    def answer(self, method, path, headers, body):
        token = (headers.get('Authorization') or '').removeprefix('Bearer ')
        if method == 'PUT':  # of a large file, to an address that was given out with it
            self.objects[path.rpartition('/')[2]] = body
            return 200, {}, b''
        found = re.fullmatch(r'/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)', path)
        if found and method in ('GET', 'HEAD'):
            return self.resolve(found[1], found[3], token)
        if token not in (TOKEN, READ_ONLY):
            return told(401, 'Invalid username or password.')
        if path == '/api/whoami-v2':
            return as_json({'type': 'user', 'name': USER, 'orgs': []})
        if path == '/api/validate-yaml':
            return as_json({'warnings': [], 'errors': []})
        if method == 'POST' and token == READ_ONLY:
            return told(403, 'You do not have the rights to write.')
        if path == '/api/repos/create':
            return self.create(json.loads(body))
        if found := re.fullmatch(r'/api/models/(.+)/preupload/main', path):
            files = json.loads(body)['files']
            return as_json({'files': [
                {'path': file['path'], 'shouldIgnore': False,
                 'uploadMode': 'lfs' if file['path'].endswith('.safetensors') else 'regular'} for file in files]})
        if path.endswith('.git/info/lfs/objects/batch'):
            objects = json.loads(body)['objects']
            return as_json({'transfer': 'basic', 'objects': [
                {**one, 'actions': {'upload': {'href': f'{self.url}/lfs/{one["oid"]}'}}} for one in objects]})
        if found := re.fullmatch(r'/api/models/(.+)/commit/main', path):
            return self.commit(found[1], [json.loads(line) for line in body.splitlines()])
        return told(404, 'Not found')

    def create(self, asked):
        repo = f'{asked.get("organization") or USER}/{asked["name"]}'
        if not repo.startswith(f'{USER}/'):
            return told(403, f'You do not have the rights to create a model under {asked["organization"]}.')
        if repo in self.repos:
            return as_json({'url': f'{self.url}/{repo}', 'error': 'You already created this model repo'}, 409)
        private = asked.get('private') or asked.get('visibility') == 'private'
        self.repos[repo] = {'private': bool(private), 'commits': []}
        return as_json({'url': f'{self.url}/{repo}'})

    def commit(self, repo, lines):
        files = dict(self.files(repo))
        for line in lines:
            value = line['value']
            if line['key'] == 'file':
                files[value['path']] = base64.b64decode(value['content'])
            if line['key'] == 'lfsFile':
                content = self.objects[value['oid']]
                assert hashlib.sha256(content).hexdigest() == value['oid'] and len(content) == value['size']
                files[value['path']] = content
        self.repos[repo]['commits'].append(files)
        oid = f'{len(self.repos[repo]["commits"]):040x}'
        return as_json({'commitOid': oid, 'commitUrl': f'{self.url}/{repo}/commit/{oid}', 'hookOutput': ''})

    def resolve(self, repo, name, token):
        if repo not in self.repos or self.repos[repo]['private'] and token not in (TOKEN, READ_ONLY):
            return told(401, 'Repository not found', 'RepoNotFound')
        content = self.files(repo).get(name)
        if content is None:
            return told(404, 'Entry not found', 'EntryNotFound')
        commit = f'{len(self.repos[repo]["commits"]):040x}'
        return 200, {'ETag': f'"{hashlib.sha256(content).hexdigest()}"', 'X-Repo-Commit': commit}, content


def as_json(content, status=200):
    return status, {'Content-Type': 'application/json'}, json.dumps(content).encode()


def told(status, message, code=''):
    code = {'X-Error-Code': code} if code else {}
    return status, {'X-Error-Message': message, **code}, json.dumps({'error': message}).encode()
