"""Every code of an error, and what it says. Rows of data have codes of their own, which an error about one carries."""

from __future__ import annotations

from collections.abc import Mapping

from sodate.core.text import tr

CODES: Mapping[str, str] = {
    "aborted": tr("a question was asked and input ended", "質問の途中で入力が終わりました"),
    "adapter_mismatch": tr(
        "the adapter's tensors are not those of this model", "アダプターのテンソルが、このモデルのものではありません"
    ),
    "adapter_unsupported": tr(
        "the adapter uses something that is not supported", "アダプターが、対応していない機能を使っています"
    ),
    "address_unavailable": tr(
        "the server cannot listen on this host and port", "指定のホストとポートで待ち受けられません"
    ),
    "alias_not_found": tr("no alias has this name", "その名前のエイリアスはありません"),
    "bad_cycle": tr(
        "a cycle's file has a key or value that is not understood",
        "サイクルのファイルに、解釈できないキーか値があります",
    ),
    "bad_encoding": tr("a document is in no encoding that is read", "文書の文字コードを判別できません"),
    "bad_gate": tr("the gate has a key or value that is not understood", "ゲートに、解釈できないキーか値があります"),
    "bad_grader": tr(
        "the grader is unknown, or an option of it is wrong", "採点方法が不明か、オプションが誤っています"
    ),
    "bad_header": tr(
        "the header of a table is not text, or names no column", "表の見出し行が文字でないか、列名がありません"
    ),
    "bad_name": tr("the name can't be used here", "ここでは使えない名前です"),
    "bad_path": tr("a path can't be read or written there", "その場所のファイルを読み書きできません"),
    "bad_pattern": tr("a regular expression does not compile", "正規表現として正しくありません"),
    "bad_recipe": tr(
        "the recipe is not YAML, or not keys with values", "レシピが YAML でないか、キーと値の形になっていません"
    ),
    "bad_reference": tr(
        "a row's reference or tests are missing, or the grader can't read them",
        "行の正解かテストがないか、採点方法が読み取れません",
    ),
    "bad_rules": tr(
        "the file of rules has a key or value that is not understood",
        "ルールのファイルに、解釈できないキーか値があります",
    ),
    "bad_schema": tr(
        "not a JSON Schema, or one that is not supported", "JSON Schema でないか、対応していない JSON Schema です"
    ),
    "bad_sheet": tr("a sheet has rows or votes that can't be taken", "シートに、取り込めない行か票があります"),
    "bad_task": tr(
        "the task file is not YAML, or not keys with values",
        "タスクのファイルが YAML でないか、キーと値の形になっていません",
    ),
    "bad_value": tr("`param` has a value that it can't have", "`param` に使えない値が指定されています"),
    "busy": tr(
        "there is no room for the request now; try again",
        "いまはリクエストを受けられません。しばらくして再試行してください",
    ),
    "changed": tr(
        "a file, model or template is not what it was when the run began",
        "ファイル、モデル、テンプレートのどれかが、実行を始めたときと変わっています",
    ),
    "constraint_unsupported": tr(
        "a schema, expression or choice that replies can't be held to",
        "返答を従わせられないスキーマ、正規表現、選択肢です",
    ),
    "context_length_exceeded": tr(
        "prompt and reply are more tokens than the model takes at once",
        "プロンプトと返答の合計が、モデルの扱えるトークン数を超えます",
    ),
    "damaged": tr(
        "a file is cut off, or not what its name or hash says",
        "ファイルが途中で切れているか、名前やハッシュと内容が合いません",
    ),
    "database_unreachable": tr("the database cannot be opened", "データベースを開けません"),
    "dataset_not_found": tr("there is no dataset of this name and number", "その名前と番号のデータセットはありません"),
    "disk_full": tr("there is no space left to write", "書き込む空き容量がありません"),
    "diverged": tr("the loss is not a number any more", "損失が数値でなくなりました"),
    "empty_document": tr("a document has no text", "文書に文字がありません"),
    "empty_file": tr("the uploaded file has no bytes", "アップロードされたファイルが空です"),
    "encoding": tr("the file is in another encoding than UTF-8", "ファイルの文字コードが UTF-8 ではありません"),
    "encrypted_document": tr("a document needs a password", "文書にパスワードがかかっています"),
    "engine_failed": tr("the engine failed while it answered", "返答の生成中にエンジンが失敗しました"),
    "engine_refused": tr("the engine can't do what was asked", "エンジンが対応していない要求です"),
    "export_differs": tr(
        "the exported files do not answer as the version does; the sentence says in what",
        "書き出したファイルの返答が、元のバージョンと一致しません。どこが違うかは文で示します",
    ),
    "export_unsupported": tr(
        "the version can't be exported in this form", "このバージョンは、指定の形式で書き出せません"
    ),
    "extra_missing": tr(
        "packages of an optional part are not installed", "追加機能のパッケージがインストールされていません"
    ),
    "failed": tr("anything that has no code of its own", "固有のコードがないエラーです"),
    "file_exists": tr("a file of that name is there already", "その名前のファイルがすでにあります"),
    "file_missing": tr("a file is not there", "ファイルがありません"),
    "file_unreadable": tr("a file is there and can't be read", "ファイルはありますが、読めません"),
    "fine_tune_not_found": tr("the project has no job of this id", "この ID のジョブがプロジェクトにありません"),
    "gate_not_passed": tr(
        "the version did not pass the gate, or was not held against one",
        "バージョンがゲートを通過していないか、まだ判定されていません",
    ),
    "grader_failed": tr("a grader raised on a reply", "採点方法が返答の採点中に失敗しました"),
    "held_out_data": tr("held-out rows are never trained on", "評価用の行は学習に使えません"),
    "hub_refused": tr("the hub refused the model", "モデルハブが要求を拒否しました"),
    "in_use": tr("another process, or a version, needs it", "別のプロセスかバージョンが使用中です"),
    "index_missing": tr("no index has this name", "その名前の索引はありません"),
    "interrupted": tr("stopped by Ctrl-C or SIGTERM", "Ctrl-C または SIGTERM で停止しました"),
    "invalid_file": tr(
        "a job names a file that its project has not", "ジョブの指定したファイルがプロジェクトにありません"
    ),
    "invalid_file_format": tr(
        "the file is not of the format that its purpose needs", "ファイルが、用途に必要な形式になっていません"
    ),
    "invalid_line": tr(
        "a line of an uploaded file is not a JSON object",
        "アップロードされたファイルに、JSON オブジェクトでない行があります",
    ),
    "invalid_prompt": tr(
        "the prompt has no tokens, or some that the model does not know",
        "プロンプトにトークンがないか、モデルにないトークンを含みます",
    ),
    "invalid_schema": tr(
        "the schema that a reply has to follow is not a JSON Schema",
        "返答が従うべきスキーマが、JSON Schema として正しくありません",
    ),
    "invalid_status": tr("the object is not in a state in which this can be done", "今の状態ではその操作ができません"),
    "invalid_value": tr(
        "a field of a request has a value that it can't have", "リクエストの項目に使えない値があります"
    ),
    "key_missing": tr(
        "others could reach the server, and it has no key yet", "外部から接続できる設定ですが、API キーがまだありません"
    ),
    "key_not_found": tr("no key has this id", "その ID のキーはありません"),
    "missing_column": tr("no row has the column", "その列を持つ行がありません"),
    "missing_key": tr("the recipe lacks a key that has no default", "既定値のないキーが、レシピにありません"),
    "mixed_rows": tr("the files hold different kinds of data", "ファイルごとにデータの種類が違います"),
    "model_gated": tr("the model's owner gives access on request", "配布元の承認が必要なモデルです"),
    "model_not_available": tr("nothing that could be trained has this name", "その名前の学習できるモデルがありません"),
    "model_not_found": tr("no model or version has this name", "その名前のモデルもバージョンもありません"),
    "model_not_pulled": tr("the model is known, and was not pulled yet", "既知のモデルですが、まだ取り込んでいません"),
    "model_unsupported": tr(
        "the model's files or architecture can't be used", "モデルのファイルか構造に対応していません"
    ),
    "moved_meanwhile": tr(
        "somebody else moved the alias in the meantime", "その間に、ほかの人がエイリアスを移しました"
    ),
    "no_canary": tr("the alias has no canary", "そのエイリアスにカナリアはありません"),
    "no_network": tr(
        "the network, or the package index, could not be reached", "ネットワークかパッケージの配布元に接続できません"
    ),
    "no_passages": tr("no passage is left to make an index of", "索引にできる文章がありません"),
    "no_rows": tr("the file has no row that can be used", "使える行がファイルにありません"),
    "no_sandbox": tr(
        "this machine offers no sandbox for graders that run code",
        "コードを実行する採点に必要な隔離環境が、このマシンにありません",
    ),
    "not_found": tr("the project has nothing of this id", "その ID のものは、このプロジェクトにありません"),
    "not_calibrated": tr("nothing was promised yet for these options", "これらの選択肢の較正がまだありません"),
    "not_running": tr("no process of this machine works on the run", "この実行を進めているプロセスがありません"),
    "nothing_to_learn": tr("all rewards are the same", "報酬がすべて同じで、学ぶことがありません"),
    "nothing_to_roll_back": tr(
        "the alias meant no other version before", "そのエイリアスが以前に指していたバージョンがありません"
    ),
    "out_of_memory": tr("memory ran out, or would", "メモリが足りなくなったか、足りなくなる見込みです"),
    "pickle": tr("the weights are a pickle, which can run code", "重みが、コードを実行できる pickle 形式です"),
    "quota_exceeded": tr(
        "the project has as many files or jobs as it may have", "プロジェクトのファイル数かジョブ数が上限に達しています"
    ),
    "rate_limit_exceeded": tr(
        "too many requests; try again later", "リクエストが多すぎます。しばらくして再試行してください"
    ),
    "remote_code": tr("the model asks to run code of its own", "モデルが、付属のコードの実行を求めています"),
    "report_not_found": tr("no report has this name", "その名前のレポートはありません"),
    "request_too_large": tr("more was sent than is taken", "送られた内容が、受け付ける大きさを超えています"),
    "run_not_found": tr("no run has this name", "その名前の実行はありません"),
    "scanned_document": tr("a document is pictures of pages, without text", "文書が画像だけで、文字がありません"),
    "scrub_failed": tr("personal data could not be taken out", "個人情報を取り除けませんでした"),
    "schema_violation": tr("the reply does not follow the schema", "返答がスキーマに合っていません"),
    "shutting_down": tr("the server is ending", "サーバーが終了するところです"),
    "slow_reader": tr("the client took its reply too slowly", "クライアントの受信が遅すぎました"),
    "step_failed": tr(
        "a command that the ladder ran failed; the command is named",
        "ladder が実行したコマンドが失敗しました。コマンドを示します",
    ),
    "study_not_found": tr("no study of judgements has this id", "その ID の調査はありません"),
    "template_broken": tr(
        "the chat template breaks a law of rendering", "会話テンプレートが、変換の規則を満たしていません"
    ),
    "template_refused": tr(
        "the chat template does not compile, or refused a row",
        "会話テンプレートを解釈できないか、テンプレートが行を受け付けませんでした",
    ),
    "too_few_rows": tr("the rows are too few for what was asked of them", "求めたことに対して行が足りません"),
    "too_large": tr("a file is larger than is read", "ファイルが、読み込める大きさを超えています"),
    "too_long": tr(
        "prompt and reply are more tokens than the model takes",
        "プロンプトと返答の合計が、モデルの上限トークン数を超えます",
    ),
    "too_new": tr(
        "the file was written by a newer sodate, in a form not known here",
        "より新しい sodate が書いた、ここでは読めない形式のファイルです",
    ),
    "unexpected": tr("a fault of sodate or of the machine", "sodate またはマシンの不具合です"),
    "unknown_answers": tr(
        "the index holds none of the files or passages that questions name",
        "質問の答えがあるとされたファイルや文章が、索引に一つもありません",
    ),
    "unknown_document": tr("a document is of a kind that is not read", "読めない形式の文書です"),
    "unknown_format": tr(
        "the rows or the file are in no format that is known", "行またはファイルが、対応している形式ではありません"
    ),
    "unknown_key": tr("the recipe has a key that does not exist", "レシピに、存在しないキーがあります"),
    "unknown_method": tr("there is no such training method", "その学習手法はありません"),
    "unknown_template": tr("there is no built-in template of this name", "その名前の組み込みテンプレートはありません"),
    "unknown_version": tr("the engine was not given this version", "そのバージョンは、エンジンに読み込まれていません"),
    "unsupported_schema": tr(
        "the schema uses something that replies can't be held to", "返答を従わせられない機能を使ったスキーマです"
    ),
    "untrusted_reward": tr(
        "the reward model was not shown to be worth learning from",
        "学習の基準にできると確かめられていない報酬モデルです",
    ),
    "upstream_failed": tr(
        "the server upstream refused, failed, or does not answer", "上流サーバーが拒否した、失敗した、または応答しない"
    ),
    "upstream_key": tr("the server upstream wants a key, or another one", "上流サーバーの鍵がないか、違っている"),
    "usage": tr(
        "the command is wrong in a way that has no code of its own", "コマンドの誤りで、固有のコードがないものです"
    ),
    "version_alone": tr(
        "the version's adapter can't share a base with others",
        "このバージョンのアダプターは、ベースモデルをほかと共有できません",
    ),
    "version_not_found": tr("no version has this name or number", "その名前か番号のバージョンはありません"),
    "worker_crashed": tr("whoever did the work ended over it too often", "処理するプロセスが途中で何度も終了しました"),
    "wrong_model": tr(
        "the model is of another kind than the command needs", "コマンドに必要な種類のモデルではありません"
    ),
    "wrong_rows": tr("the rows are of another kind than the command needs", "コマンドに必要な種類の行ではありません"),
}
