"""Common personal names, for finding names in text. Facts of everyday life, written by hand; far from complete.
Variants of kanji are folded, as the text they are looked for in is.

Given names that are as often something else (Will, Mark, Grace) are left out.
"""

from __future__ import annotations

from sodate.core.variants import folded


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


JA_SURNAMES = words(
    folded(
        """佐藤 鈴木 高橋 田中 伊藤 渡辺 渡邊 渡邉 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上 木村 林 斎藤 斉藤
    齋藤 齊藤 清水 山崎 森 池田 橋本 阿部 石川 石井 小川 前田 岡田 長谷川 藤田 後藤 近藤 村上 遠藤 青木 坂本 福田
    太田 西村 藤井 金子 岡本 藤原 三浦 中野 中島 中嶋 松田 原田 小野 竹内 田村 中山 和田 石田 森田 上田 原 内田
    柴田 酒井 宮崎 横山 高木 安藤 宮本 大野 小島 工藤 谷口 今井 高田 増田 丸山 杉山 村田 大塚 新井 小山 平野 藤本
    河野 上野 野口 武田 松井 千葉 菅原 岩崎 久保 木下 佐野 野村 松尾 菊地 菊池 市川 杉本 古川 大西 島田 水野 桜井
    櫻井 高野 渡部 吉川 山内 西田 飯田 西川 小松 北村 安田 五十嵐 川口 平田 関 中田 久保田 服部 東 岩田 土屋 川崎
    福島 本田 辻 樋口 秋山 田口 永井 中川 小池 大久保 浅野 大橋 松岡 荒木 堀 矢野 川上 石原 望月 須藤 大谷 岡崎
    小西 森本 片山 馬場 伊東 早川 栗原 熊谷 松村 吉村 荒井 尾崎 飯塚 大石 浜田 濱田 沢田 澤田 星野 黒田 永田 内藤
    広瀬 松下 川村 西山 大島 小田 栗田 武藤 上原 堀内 柳田 本間 松原 小泉 岡 八木 成田 関口 萩原 横田 奥村 大川
    石橋 岸 森山 白石 根本 篠原 滝沢 田島 三宅 富田 大森 小原 吉岡 児玉 相馬 富永 宮田 小沢 小澤 榎本 牧野 足立
    竹田 天野 中西 鎌田 稲垣 野田 村山 川島 菅野 神田 坂口 三好 福井 平井 西尾 入江 奥田 植田 堤 門田 植木 相沢
    相澤 落合 津田 西野 土井 甲斐 細川 戸田 塚本 吉野 飯島 宮川 西岡 大平 今村 黒木 金田 古賀 河合 河村 片岡 岩本
    森下 安部 須田 平山 田辺 田邊 三上 比嘉 金城 大城 宮城 島袋 新垣 玉城 中井 小倉 高山 山下 高松 西本 石黒 瀬戸
    柳 北川 高島 松永 竹中 島崎 宇野 向井 浅井 窪田 川田 長田 矢島 麻生 安倍 岸田 石破 菅 野中 徳永 桑田 長島 濱口
    赤松 秋元 浅田 芦田 東海林 有田 粟野 飯野 飯村 池上 池内 石崎 石塚 石渡 泉 磯部 板垣 市原 伊達 稲葉 稲田 井口 緒方
    井出 今泉 今野 岩井 岩下 岩瀬 岩間 植松 牛島 臼井 内海 海老原 江口 江藤 大木 大沢 大滝 大竹 大友 大貫 大場 大林
    園部 大原 大村 大和田 岡部 岡村 岡野 荻野 奥山 奥野 尾形 小笠原 小野寺 小畑 小俣 織田 柿沼 笠原 梶原 春日 勝又 加納
    上村 亀井 亀田 狩野 河田 河原 川端 川原 川合 川井 川瀬 川野 川畑 神谷 岸本 北原 北山 北野 木原 木本 桐山 草野
    久野 熊田 倉田 黒川 黒沢 黒澤 黒岩 桑原 小出 小坂 小谷 小寺 小幡 越智 小宮 小室 近江 坂井 榊原 坂田 坂上 桜庭
    佐久間 佐伯 佐川 笹川 笹原 佐竹 佐原 塩田 塩谷 志村 柴崎 芝田 渋谷 島本 清野 下田 下村 庄司 荘司 白井 白川 城田
    新谷 新藤 進藤 末永 末吉 菅沼 菅谷 杉田 杉浦 杉原 杉崎 鈴村 住吉 瀬川 関根 関谷 関本 千田 曽根 曽我 園田 高井
    高瀬 高畑 高原 高見 高村 滝口 滝本 竹下 竹村 武井 武内 武石 多田 橘 立花 辰巳 立石 田代 田所 田畑 田淵 谷川
    谷本 玉井 玉置 玉木 田原 塚田 塚原 筒井 常盤 角田 坪井 鶴田 寺田 寺島 寺本 土居 東條 徳田 富岡 冨田 友田 豊田
    鳥居 鳥山 内山 直井 長井 長尾 長岡 長沼 長浜 永野 仲田 仲村 中尾 中岡 中沢 中澤 中谷 中根 中原 中本 永瀬 名取
    成瀬 新田 西原 西沢 西澤 二宮 丹羽 沼田 根岸 野上 野沢 野澤 野崎 野島 野原 野本 芳賀 萩野 橋口 橋爪 長谷 畑中
    蜂谷 花田 羽田 馬渕 浜口 浜崎 浜野 早坂 林田 原口 針谷 半田 日野 日高 肥田 平岡 平川 平松 平林 平沢 広田 深沢
    深澤 深谷 福岡 福永 福本 福原 福山 藤岡 藤川 藤沢 藤澤 藤崎 藤村 藤野 藤森 藤山 古田 古屋 古谷 細田 細谷 堀江
    堀田 堀川 堀口 本多 前川 前島 前原 牧 正木 桝田 町田 松浦 松川 松木 松崎 松沢 松澤 松島 松谷 松林 松山 三木
    三谷 三井 三沢 三澤 水上 水口 水谷 溝口 光永 皆川 峯 箕輪 宮内 宮下 宮野 宮原 宮坂 三輪 向山 村井 村岡 村瀬
    村松 村中 室井 毛利 百瀬 森岡 森川 森口 森谷 森永 森野 諸橋 安井 矢部 矢口 八田 柳沢 柳澤 柳原 薮田 山岡 山形
    山川 山岸 山科 山城 山根 山室 山元 湯浅 結城 横井 横尾 横川 横溝 吉井 吉沢 吉澤 吉原 吉本 米田 米山 若林 若松
    和泉 脇田 渡瀬 綿貫 鷲尾 我妻 雨宮 綾部 安西 伊丹 一条 一ノ瀬 犬飼 宇田川 梅田 梅原 浦田 遠山 大井 大内 大槻
    大津 大倉 大山 岡山 長内 尾上 音羽 鬼頭 貝塚 風間 風見 片桐 金井 金沢 金澤 鎌倉 神山 川越 木内 木戸 城戸 北条
    清原 九条 日下部 国枝 郡司 五島 小早川 権田 西園寺 斎木 鷺沢 沢村 澤村 椎名 重松 品川 篠田 篠崎 島津 下地 生田
    真田 真壁 城間 城之内 須賀 諏訪 仙波 外山 染谷 高城 高峰 田宮 長宗我部 津村 寺内 天童 戸塚 鳥羽 永山 名倉 鍋島
    仁科 西脇 根津 能登 間宮 灰原 萩本 初音 東野 桧山 檜山 平賀 深田 藤堂 不破 保坂 穂積 本庄 前園 真鍋 増井 松平
    黛 三島 水原 御堂 美濃 宗像 室田 目黒 物部 茂木 八代 八神 山名 吉良 竜崎 若宮 和久井 鰐淵 上地 仲里 照屋 与那嶺
    知念 新里 喜納 我那覇 屋良 砂川 平良 下里 東恩納 渡嘉敷"""
    )
)
JA_GIVEN = words(
    folded(
        """太郎 次郎 一郎 三郎 健太 健一 健二 健 翔太 翔 拓也 拓真 大輔 大樹 大輝 大地 直樹 直人 和也 和夫 和彦 達也
    哲也
    裕太 裕二 浩 浩二 浩一 誠 誠一 隆 隆之 孝 孝之 博 博之 学 豊 勇 勇気 清 進 茂 実 修 剛 亮 亮太 涼太 涼介 陽太
    陽介 陽斗 悠斗 悠真 悠太 蓮 湊 樹 律 蒼 颯太 颯 大翔 陸 陸斗 海斗 隼人 隼 駿 俊介 俊 智也 智 智子 雄太 雄介
    雄一 慎一 慎吾 信也 信 恵介 圭介 啓介 啓太 康平 康介 洋平 洋介 洋一 洋子 良太 良 聡 聡子 悟 純 純一 淳 淳子 昭
    昭夫 正 正人 正樹 雅人 雅也 義男 義明 秀樹 秀明 英樹 英明 弘 弘樹 宏 宏樹 貴之 貴大 崇 敦 敏夫 花子 陽子 裕子
    恵子 久美子 由美子 由美 由紀 由紀子 真由美 真理子 真理 真紀 直美 直子 美咲 美穂 美香 美紀 美和 美優 美月 さくら
    桜 愛 愛子 葵 結衣 結菜 結愛 陽菜 莉子 莉奈 凛 凜 杏 杏奈 咲良 咲希 七海 彩 彩香 彩花 綾 綾子 綾香 麻衣 麻美 舞
    優子 優奈 優花 優 友美 智美 智恵 知子 朋子 幸子 和子 節子 京子 順子 典子 紀子 明美 明子 恵美 恵 香織 沙織 千尋
    千春 千夏 遥 遥香 春香 春菜 萌 真央 里美 里奈 理恵 理沙 玲奈 瞳 静香 めぐみ あゆみ ひかり はるか ゆい みゆき
    かおり まい あい 颯介 悠人 悠 悠馬 湊斗 朝陽 大志 大悟 拓海 拓実 歩夢 陽向 陽翔 陽人 晴 晴人 晴斗 遼 遼太 諒
    諒太 亮介 亮平 佳祐 慎太郎 慎也 真一 真司 真也 信一 信二 伸一 伸也 晋也 英司 栄治 栄一 奏太 奏斗 壮太 蒼太 蒼空
    蒼真 宗一郎 総一郎 惣一 龍 龍一 龍也 竜也 竜太 隆一 隆司 隆史 武志 剛志 貴志 貴史 崇史 孝史 敬太 敬一 謙 謙一
    謙太郎 賢一 賢太 健人 健司 健吾 健次 健太郎 憲一 研二 幸一 幸太郎 幸男 幸雄 光一 光男 浩司 浩之 弘之 博史 博文
    文雄 文男 正男 正雄 正之 正義 政夫 昌弘 雅之 雅彦 雅史 克也 克己 勝 勝也 哲 哲夫 哲郎 徹也 敏之 俊之 俊彦 俊夫
    義之 良一 良平 吉男 和樹 和真 一樹 一真 一輝 友和 友樹 智之 知也 祐介 祐樹 裕介 裕之 雄一郎 雄大 勇太 勇人 優太
    優斗 優真 由香 由佳 由美香 有紀 有希 有香 友香 友紀 友里 優香 優衣 結 結月 結花 莉央 莉緒 梨花 梨沙 梨奈 里佳
    里香 里子 理子 理央 璃子 凛花 涼子 玲 玲子 麗子 瑠奈 琉奈 若菜 和花 和奏 心春 心美 心結 心愛 こころ 紬 つむぎ
    芽依 芽生 朱里 明里 明日香 亜美 亜希子 亜由美 彩乃 彩音 彩夏 絢 綾乃 あかり あや あやか あおい いずみ えり 絵美
    絵里 恵理 恵理子 江梨子 佳代 佳代子 加奈 加奈子 佳奈 香奈 香菜 花音 夏帆 夏希 夏美 奈々 奈々美 奈津子 奈緒 奈央
    菜々子 菜摘 菜月 七菜 希美 望美 のぞみ 紀香 久子 弘子 広子 裕美 弘美 浩美 博子 寿子 史子 文子 芙美 冬美 まどか
    円香 真希 真衣 真帆 真琴 真理恵 麻里 麻里子 麻由 麻由子 雅美 雅子 政子 昌子 みお 美緒 澪 美雪 美幸 美樹 美佳
    美加 美沙 美沙紀 美里 美智子 美津子 美奈 美奈子 美代子 みどり 美音 美羽 光子 充子 満里奈 めい 桃子 桃花 もも
    百花 百合子 靖子 泰子 康子 恭子 今日子 響子 ゆうこ 佑香 悠花 柚希 柚月 柚葉 ゆき 雪乃 好美 佳子 良子 頼子 利恵
    律子 るみ 留美 瑠美 澄子 純子 淑子 俊子 敏子 登美子 千恵 千恵子 千佳 千鶴 鶴子 時子 時枝 富子 照子 静子 静江
    清美 清子 邦子 邦夫 国男 圭子 啓子 慶子 恵里 栄子 英子 悦子 江美 園子 昭子 秋子 秋穂 昌代 貞子 幸恵 幸代 早紀
    早苗 沙也加 沙耶 紗英 紗希 紗耶香 さやか さゆり しおり 詩織 詩音 栞 志保 しのぶ 珠美 寿美子 すみれ 菫 涼香 聖子"""
    )
)
EN_GIVEN = words(
    """James John Robert Michael William David Richard Joseph Thomas Charles Christopher Daniel Matthew Anthony Donald
    Steven Paul Andrew Joshua Kenneth Kevin Brian George Timothy Ronald Edward Jason Jeffrey Ryan Jacob Gary
    Nicholas Eric Jonathan Stephen Larry Justin Scott Brandon Benjamin Samuel Gregory Alexander Patrick Jack Dennis
    Jerry Tyler Aaron Jose Adam Nathan Henry Douglas Zachary Peter Kyle Noah Ethan Jeremy Walter Christian Keith
    Roger Terry Austin Sean Gerald Carl Harold Dylan Arthur Lawrence Jordan Jesse Bryan Billy Bruce Gabriel Joe
    Logan Alan Juan Albert Willie Elijah Wayne Randy Vincent Mason Roy Ralph Bobby Russell Bradley Philip Eugene Tom
    Tim Jim Bob Ben Sam Dan Mike Steve Dave Chris Matt Nick Alex Max Leo Liam Oliver Harry Oscar Hugo Felix Lucas
    Simon Martin Ian Neil Graham Stuart Colin Nigel Trevor Mary Patricia Jennifer Linda Elizabeth Barbara Susan
    Jessica Sarah Karen Lisa Nancy Betty Sandra Margaret Ashley Kimberly Emily Donna Michelle Carol Amanda Melissa
    Deborah Stephanie Rebecca Sharon Laura Cynthia Dorothy Amy Kathleen Angela Shirley Emma Brenda Pamela Nicole
    Anna Samantha Katherine Christine Debra Rachel Carolyn Janet Maria Olivia Heather Helen Catherine Diane Julie
    Victoria Joyce Lauren Kelly Christina Ruth Joan Virginia Judith Evelyn Hannah Andrea Megan Cheryl Jacqueline
    Madison Teresa Abigail Sophia Martha Sara Gloria Janice Kathryn Ann Isabella Judy Charlotte Julia Amber Alice
    Jean Denise Frances Danielle Marilyn Natalie Beverly Diana Brittany Theresa Kayla Alexis Doris Lori Kate Lucy
    Chloe Ella Mia Zoe Claire Jane Sally Wendy Fiona Gemma Nina Eva Carlos Luis Miguel Pedro Antonio Diego Ahmed
    Mohamed Muhammad Omar Ali Hassan Fatima Aisha Priya Anil Raj Amit Wei Ming Pierre Jean-Paul Marie Sophie Camille
    Hans Klaus Jürgen Anja Giulia Marco Luca Francesca Elena Olga Ivan Sergei Dmitri Natasha Taro Hanako Kenji Yuki
    Hiroshi Takashi Yuko Keiko Akira Satoshi Naoko"""
)
